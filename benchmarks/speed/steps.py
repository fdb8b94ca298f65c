"""CPU seconds of the last steps of preprocessing and of a page's figures, again and again on the same scan.

``python benchmarks/speed/steps.py WORK T1W`` takes the work folder of a session that was preprocessed
(``--work`` of ``preprocessing.py``, or of a run, with one session in it) and its raw T1w, and prints
Markdown. The first turn of a step has what is done once in a process, the second what every further scan
costs. Run it with the ``PYTHONPATH`` of two versions to compare them.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK

from bids_mmh.preprocess.images import read_nifti, read_work
from bids_mmh.preprocess.steps.bias import divide_bias
from bids_mmh.preprocess.steps.finish import FinishFiles, finish_scan
from bids_mmh.preprocess.steps.quality import session_alignment, template_alignment
from bids_mmh.preprocess.template import NILEARN_SPACE, find_template
from bids_mmh.preprocess.transforms import compose, read_transform
from bids_mmh.reports.figures import scan as figures


@dataclass(frozen=True)
class Nodes:
    """Folders of a session's steps.

    Attributes:
        root: the folder that they lie in.
        anchor: key of the scan that the session was registered by.
        other: key of another one.
    """

    root: Path
    anchor: str
    other: str

    def __call__(self, step: str, key: str) -> Path:
        """Folder of one step of one scan."""
        return self.root / f"{step}_{key}"


def nodes(work: Path) -> Nodes:
    """Find the session in a work folder.

    Raises:
        SystemExit: there is none with two scans.
    """
    for found in sorted(work.rglob("template_*")):
        others = sorted(found.parent.glob("anchor_*"))
        if found.is_dir() and others:
            return Nodes(found.parent, *(one.name.partition("_")[2] for one in (found, others[0])))
    raise SystemExit(f"{work} holds no preprocessed session of two scans.")


def corrected(at: Nodes, key: str) -> SimpleITK.Image:
    """The head of a scan, divided by its bias field."""
    return divide_bias(read_work(at("load", key) / "head.nrrd"), read_work(at("bias", key) / "log_bias.nrrd"))


def steps(at: Nodes, raw: Path, scratch: Path) -> dict[str, Callable[[], object]]:
    """What is timed, by its name."""
    template = find_template(NILEARN_SPACE, scratch)
    to_mni = at("template", at.anchor) / "to_mni.txt"
    to_anchor = at("anchor", at.other) / "to_anchor.txt"
    files = FinishFiles(
        raw=raw,
        full=at("load", at.anchor) / "full.nrrd",
        mask=at("brain", at.anchor) / "mask.nrrd",
        bias=at("bias", at.anchor) / "log_bias.nrrd",
        anchor_mask=at("brain", at.anchor) / "mask.nrrd",
        anchor_to_mni=to_mni,
        to_anchor=None,
        template=template.t1w,
        template_mask=template.brain_mask,
    )

    def check_anchor() -> object:
        standard = read_nifti(template.t1w), read_nifti(template.brain_mask)
        return template_alignment(corrected(at, at.anchor), read_transform(to_mni), *standard)

    def check_other() -> object:
        anchor = (
            read_work(at("load", at.anchor) / "head.nrrd"),
            read_work(at("brain", at.anchor) / "mask.nrrd"),
        )
        to = read_transform(to_mni)
        return session_alignment(*anchor, to, corrected(at, at.other), compose(to, read_transform(to_anchor)))

    return {
        "resample and write, T1w": lambda: finish_scan(files, sequence="T1w", spacing=1.0, out_dir=scratch),
        "check alignment, T1w": check_anchor,
        "check alignment, T2w": check_other,
        "figures of a page, one scan": lambda: draw(scratch),
    }


def draw(folder: Path) -> None:
    """Draw the figures of one scan from what ``finish_scan`` left."""
    values, mask, native, native_mask = (
        np.asarray(nib.Nifti1Image.from_filename(folder / f"{name}.nii.gz").dataobj, dtype=np.float32)
        for name in ("mni_preproc", "mni_mask", "native_preproc", "native_mask")
    )
    scaled = np.where(mask > 0, values / np.percentile(values[mask > 0], 99) * 2 - 1, -1).astype(np.float32)
    affine = np.eye(4)
    for volume in (scaled, scaled):
        figures.mosaic_figure(volume, mask, affine)
    figures.difference_figure(scaled, 0.9 * scaled, mask, affine)
    figures.mask_outline_figure(native, native_mask, affine)
    figures.bias_figure(1 + 0 * native, native_mask, affine)
    figures.edges_figure(scaled, scaled, mask, affine)
    figures.histogram_figure(np.ones(100) / 2, np.ones(100) / 2)


def main(argv: Sequence[str]) -> int:
    """Time every step twice and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("raw", type=Path, help="the session's T1w")
    parser.add_argument("--only", default="", help="steps whose names begin so")
    options = parser.parse_args(argv)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    print("| step | CPU s, first | CPU s, again |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name, work in steps(nodes(options.work), options.raw, Path(scratch)).items():
            if not name.startswith(options.only):
                continue
            seconds = []
            for _ in range(2):
                start = time.process_time()
                work()
                seconds.append(time.process_time() - start)
            print(f"| {name} | {seconds[0]:.1f} | {seconds[1]:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
