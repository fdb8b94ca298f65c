"""Which failures of preprocessing are flagged: failures made on purpose, beside the scans as they are.

    bids-mmh STUDY OUT participant --preproc-only -w WORK
    python benchmarks/robustness/flagged_failures.py WORK

takes each session of the work folder, moves or turns its alignments, shifts its brain mask, gives it the next
person's mask or T2w, and prints how many of each kind are flagged, with the range of the scores.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.images import read_nifti, read_work
from bids_mmh.preprocess.steps.bias import divide_bias
from bids_mmh.preprocess.steps.quality import LOW_OVERLAP, dice, session_alignment, template_alignment
from bids_mmh.preprocess.steps.registration.session import rigid
from bids_mmh.preprocess.steps.registration.settings import FAST_REGISTRATION
from bids_mmh.preprocess.steps.registration.template import nine_dof
from bids_mmh.preprocess.steps.resample import apply_mask, isotropic, resample_mask
from bids_mmh.preprocess.template import NILEARN_SPACE, find_template
from bids_mmh.preprocess.transforms import compose, read_transform

MOVE_MM, TURN_DEG = 15.0, 10.0
GRID = model_grid(2.0)


@dataclass(frozen=True)
class Session:
    """What preprocessing left of one session; images at 2 mm.

    Attributes:
        name: of the session.
        anchor: corrected anchor.
        mask: its brain mask.
        to_mni: resamples it onto the template.
        follower: the other scan, if there is one.
        to_anchor: resamples that one onto the anchor.
    """

    name: str
    anchor: SimpleITK.Image
    mask: SimpleITK.Image
    to_mni: SimpleITK.Transform
    follower: SimpleITK.Image | None
    to_anchor: SimpleITK.Transform | None


def read_session(folder: Path) -> Session:
    """Read a session of a work folder."""
    key = next(folder.glob("brain_*")).name.removeprefix("brain_")
    head = read_work(folder / f"load_{key}" / "head.nrrd")
    corrected = divide_bias(head, read_work(folder / f"bias_{key}" / "log_bias.nrrd"))
    follower, to_anchor = None, None
    for path in folder.glob("anchor_*/to_anchor.txt"):
        name = path.parent.name.removeprefix("anchor_")
        follower = isotropic(read_work(folder / f"load_{name}" / "head.nrrd"), GRID.spacing)
        to_anchor = read_transform(path)
    return Session(
        folder.name,
        isotropic(corrected, GRID.spacing),
        _coarse_mask(read_work(folder / f"brain_{key}" / "mask.nrrd")),
        read_transform(folder / f"template_{key}" / "to_mni.txt"),
        follower,
        to_anchor,
    )


def _coarse_mask(mask: SimpleITK.Image) -> SimpleITK.Image:
    return SimpleITK.Cast(
        isotropic(SimpleITK.Cast(mask, SimpleITK.sitkFloat32), GRID.spacing) >= 0.5, SimpleITK.sitkUInt8
    )


@dataclass(frozen=True)
class Checks:
    """The checks of the program, with the template that they need."""

    template: SimpleITK.Image
    template_mask: SimpleITK.Image

    def alignment(self, session: Session, to_mni: SimpleITK.Transform) -> tuple[float, bool]:
        """Distinctness on the template, and whether it is flagged."""
        found = template_alignment(session.anchor, to_mni, self.template, self.template_mask)
        return found["template_distinctness"], bool(found["warnings"])

    def mask(self, session: Session, mask: SimpleITK.Image) -> tuple[float, bool]:
        """Align anew by another mask: distinctness, and whether alignment or overlap is flagged."""
        brain = apply_mask(session.anchor, SimpleITK.Resample(mask, session.anchor, SimpleITK.Transform()))
        to_mni, _ = nine_dof(self.template, self.template_mask, brain, FAST_REGISTRATION)
        distinctness, flagged = self.alignment(session, to_mni)
        reference, unmoved = GRID.reference(), SimpleITK.Transform()
        overlap = dice(
            resample_mask(mask, reference, to_mni), resample_mask(self.template_mask, reference, unmoved)
        )
        return distinctness, flagged or overlap < LOW_OVERLAP

    def pair(
        self, session: Session, follower: SimpleITK.Image, to_anchor: SimpleITK.Transform
    ) -> tuple[float, bool]:
        """Distinctness of a pair, and whether it is flagged."""
        through = compose(session.to_mni, to_anchor)
        found = session_alignment(session.anchor, session.mask, session.to_mni, follower, through)
        return found["anchor_distinctness"], bool(found["warnings"])


def cases(
    checks: Checks, session: Session, other: Session, axis: int
) -> Iterator[tuple[str, tuple[float, bool]]]:
    """Check a session as it is and with each failure; ``axis`` says along which it is moved and turned."""
    yield "as it is", checks.alignment(session, session.to_mni)
    centre = (0.0, 17.0, 6.0)  # middle of the grid, LPS mm
    yield "alignment moved 15 mm", checks.alignment(session, compose(_moved(axis), session.to_mni))
    yield "alignment turned 10 deg", checks.alignment(session, compose(_turned(axis, centre), session.to_mni))
    shifted = SimpleITK.Resample(session.mask, session.mask, _moved(axis))
    yield "mask shifted 15 mm", checks.mask(session, shifted)
    yield "next person's mask", checks.mask(session, other.mask)
    if session.follower is None or session.to_anchor is None:
        return
    middle = session.anchor.TransformContinuousIndexToPhysicalPoint([n / 2 for n in session.anchor.GetSize()])
    yield "T2w as it is", checks.pair(session, session.follower, session.to_anchor)
    for name, wrong in (("moved 15 mm", _moved(axis)), ("turned 10 deg", _turned(axis, middle))):
        yield f"T2w {name}", checks.pair(session, session.follower, compose(wrong, session.to_anchor))
    if other.follower is not None and other.name.split("_")[1] != session.name.split("_")[1]:
        found, _ = rigid(session.anchor, other.follower, session.mask, FAST_REGISTRATION)
        yield "next person's T2w", checks.pair(session, other.follower, found)


def _moved(axis: int) -> SimpleITK.Transform:
    return SimpleITK.TranslationTransform(3, (np.eye(3)[axis] * MOVE_MM).tolist())


def _turned(axis: int, centre: tuple[float, ...]) -> SimpleITK.Transform:
    turn = SimpleITK.Euler3DTransform()
    turn.SetCenter(centre)
    turn.SetRotation(*(np.eye(3)[axis] * np.deg2rad(TURN_DEG)).tolist())
    return turn


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path, help="work folder of a run")
    work = parser.parse_args().work
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    template = find_template(NILEARN_SPACE, work / "templates")
    checks = Checks(
        isotropic(read_nifti(template.t1w), GRID.spacing),
        _coarse_mask(read_nifti(template.brain_mask, np.uint8)),
    )
    folders = sorted((work / "bids_mmh").glob("sub_*"))
    first = session = read_session(folders[0])
    table: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for number, following in enumerate([*folders[1:], None]):
        session, current = (read_session(following) if following else first), session
        for kind, (distinctness, flagged) in cases(checks, current, session, number % 3):
            table[kind].append((distinctness, flagged))
            print(f"# {current.name}: {kind}: {distinctness:.3f} {'flagged' if flagged else ''}", flush=True)
    print("| case | scans | flagged | distinctness |\n|---|---|---|---|")
    for kind, rows in table.items():
        scores, flags = zip(*rows, strict=True)
        print(f"| {kind} | {len(rows)} | {sum(flags)} | {min(scores):.2f} to {max(scores):.2f} |")


if __name__ == "__main__":
    main()
