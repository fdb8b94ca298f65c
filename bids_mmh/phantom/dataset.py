"""The phantom as a BIDS dataset."""

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from bids_mmh import __version__
from bids_mmh.errors import CannotCreateError
from bids_mmh.phantom.description import write_description
from bids_mmh.phantom.files import write_tsv
from bids_mmh.phantom.head.subject import build_head, draw_subject
from bids_mmh.phantom.head.template_head import template_head
from bids_mmh.phantom.imaging.acquisition import draw_site
from bids_mmh.phantom.plan import SEQUENCES, Plan
from bids_mmh.phantom.session import Session, write_session
from bids_mmh.phantom.truth import write_truth_description


def make_phantom(
    out: str | Path,
    *,
    subjects: int,
    sites: int,
    travelling: int = 0,
    visits: int = 0,
    seed: int = 0,
    resolution: float = 1.0,
    sequences: Sequence[str] = SEQUENCES,
    truth: bool = True,
    nprocs: int = 1,
) -> Path:
    """Make a multi-site BIDS dataset of simulated heads.

    Args:
        out: Folder of the dataset; new or empty.
        subjects: Number of subjects.
        sites: Number of sites, one scanner each.
        travelling: Number of travelling subjects, the first ones: scanned at several sites, as sessions.
        visits: Number of sites that scan a travelling subject; 0 for all.
        seed: Random seed; subject i and site k of a seed are always the same.
        resolution: Base voxel size in mm, 0.5 to 8; each site varies it a little.
        sequences: ``T1w``, ``T2w`` or both.
        truth: Whether to write the ground truth, ``derivatives/truth``.
        nprocs: Number of processes; each simulates one subject at a time in about 1.5 GB of memory.

    Returns:
        The folder of the dataset.

    Raises:
        UsageError: If a number is out of range.
        CannotCreateError: If the folder is not empty or cannot be written.
    """
    out = Path(out)
    plan = Plan(subjects, sites, travelling, visits, seed, resolution, tuple(sequences), truth)
    _check_empty(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Everything is moved into place at the end: an interrupted run leaves no partial dataset behind.
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=out) as partial_folder:
            folder = Path(partial_folder)
            _write_subjects(folder, plan, nprocs)
            write_description(folder, plan, __version__)
            if plan.truth:
                write_truth_description(folder / "derivatives" / "truth", __version__)
            for entry in sorted(folder.iterdir(), key=lambda path: path.name == "dataset_description.json"):
                shutil.move(entry, out / entry.name)
    except OSError as error:
        reason = error.strerror or error
        raise CannotCreateError(f"Cannot write to {out} ({reason}): choose another folder.") from error
    return out


def _check_empty(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise CannotCreateError(f"{out} is a file: name a new or empty folder for the phantom.")
    if out.is_dir() and any(out.iterdir()):
        raise CannotCreateError(f"{out} is not empty: name a new or empty folder for the phantom.")


def _write_subjects(folder: Path, plan: Plan, nprocs: int) -> None:
    work = partial(_write_subject, folder, plan)
    workers = min(nprocs, plan.subjects)
    if workers <= 1:
        for subject in range(plan.subjects):
            work(subject)
        return
    template_head()  # before the workers start, so that forked ones share it
    with ProcessPoolExecutor(max_workers=workers) as pool:
        list(pool.map(work, range(plan.subjects)))


def _write_subject(folder: Path, plan: Plan, subject: int) -> None:
    head = build_head(template_head(), plan.seed, subject)
    label = f"sub-{draw_subject(plan.seed, subject).label}"
    sites = [(number, draw_site(plan.seed, number)) for number in plan.sites_of(subject)]
    for number, site in sites:
        parts = (label, f"ses-{site.name}") if plan.travelling else (label,)
        stem = Path(*parts, "anat", "_".join(parts))
        rng = np.random.default_rng([plan.seed, 4, subject, number])
        write_session(Session(folder, stem, head, site), plan, rng)
    if plan.travelling:
        rows = [(f"ses-{site.name}", site.name) for _, site in sites]
        write_tsv(folder / label / f"{label}_sessions.tsv", ("session_id", "site"), rows)
