"""Measure subjects one by one: their files, the metrics that are kept, and processes that share the work."""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bids_mmh import __version__
from bids_mmh.bids.atomic import write_json
from bids_mmh.derivatives.index import PREPROCESSED
from bids_mmh.derivatives.scan import DerivedScan, read_derived
from bids_mmh.errors import BadDataError, TryAgainError
from bids_mmh.evaluation.controls.methods import CONTROLS, Fit
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.evaluation.segmentation import Segmenter
from bids_mmh.evaluation.subject_metrics import SubjectMetrics, measure_subject
from bids_mmh.freed_memory import freed_memory_kept
from bids_mmh.preprocess.grid import Grid, model_grid
from bids_mmh.runtime.process_pool import process_pool

logger = logging.getLogger(__name__)

FORMAT = 2
"""Of the kept metrics: a larger one where the same files would give others."""
FINEST = 2.0  # mm: scans of 1 mm are averaged to 2 mm, coarser ones are taken as they are
_JOBS_PER_PROCESS = 3  # below that, starting a process costs more than it gives
_GB_PER_PROCESS = 2.0

FitFor = Callable[[str], Fit | None]


@dataclass(frozen=True)
class SubjectJob:
    """What to measure of one subject.

    Attributes:
        scans: All of the subject's chosen scans, harmonized.
        pairs: Names of the scans to compare.
        raw_target: Whether the second of a pair is taken raw.
        grid: Grid to measure on.
        fitted_on: Stamps of the files of other subjects that the controls are fitted on.
        kept: File that the metrics are kept in.
    """

    scans: tuple[DerivedScan, ...]
    pairs: tuple[tuple[str, str], ...]
    raw_target: bool
    grid: Grid
    fitted_on: tuple[str, ...]
    kept: Path

    @property
    def subject(self) -> str:
        """Its label."""
        return self.scans[0].subject

    def key(self, segmenter: str) -> str:
        """Digest of everything that the metrics depend on."""
        given = {
            "format": [FORMAT, __version__, segmenter, sorted(CONTROLS)],
            "grid": self.grid.spacing,
            "pairs": [self.pairs, self.raw_target],
            "scans": [(scan.name.source, scan.site, scan_stamp(scan)) for scan in self.scans],
            "fit": self.fitted_on,
        }
        return hashlib.sha256(json.dumps(given).encode()).hexdigest()


def scan_stamp(scan: DerivedScan) -> str:
    """Sizes and times of the files of a harmonized scan: other ones where anything was written anew."""
    sidecars = (scan.version(PREPROCESSED), scan.sidecar)
    images = [path.with_suffix(".nii.gz") for path in sidecars]
    return " ".join(_stamp(path) for path in (*sidecars, *images))


def evaluation_grid(image: Path) -> Grid:
    """The grid that scans are measured on: 2 mm, or the scans' own where it is coarser.

    Raises:
        BadDataError: The image cannot be read or does not lie in the model's box.
    """
    import nibabel as nib

    from bids_mmh.errors import UsageError

    try:
        shape = nib.Nifti1Image.from_filename(image).shape
        return model_grid(max(model_grid(1.0).shape[0] / shape[0], FINEST))
    except (OSError, nib.filebasedimages.ImageFileError, UsageError) as error:
        raise BadDataError(f"{image.name} cannot be measured ({error}): run participant again.") from error


def read_preprocessed(scan: DerivedScan, grid: Grid) -> ScanArrays:
    """Read the preprocessed version of a harmonized scan on a grid.

    Raises:
        BadDataError: It cannot be read or does not fit the grid.
    """
    from bids_mmh.training.sweep.sweep_scans import read_scan

    return read_scan(read_derived(scan.version(PREPROCESSED)), grid)


def read_both(scan: DerivedScan, grid: Grid) -> ScanArrays:
    """Read both versions of a harmonized scan on a grid.

    Raises:
        BadDataError: One of them cannot be read or does not fit the grid.
    """
    from bids_mmh.training.data.scans import load_on_grid

    volume = load_on_grid(scan, grid.shape).astype(np.float32)
    return replace(read_preprocessed(scan, grid), name=scan.name.source, harmonized=volume)


def measure_subjects(
    jobs: Sequence[SubjectJob],
    fit_for: FitFor,
    segmenter: Segmenter,
    *,
    processes: int,
    mem: float | None = None,
) -> tuple[dict[str, SubjectMetrics], list[str]]:
    """Measure subjects, as far as their metrics are not kept from an earlier run.

    Args:
        jobs: One for each subject.
        fit_for: Gives what the controls learn from other subjects than the one named, None without any.
        segmenter: Labels tissues on the grid of the jobs.
        processes: Most processes at a time.
        mem: Memory to stay below, GB.

    Returns:
        Metrics by subject, in the order of the jobs, and a sentence for each that could not be measured.
    """
    found: dict[str, SubjectMetrics] = {}
    todo = []
    for job in jobs:
        kept = _kept(job, segmenter)
        if kept is None:
            todo.append(job)
        else:
            found[job.subject] = kept
    if todo:
        logger.info("Measuring %d subjects, %d were measured before.", len(todo), len(found))
    problems = []
    for job, result in _run(todo, fit_for, segmenter, processes, mem):
        if isinstance(result, str):
            problems.append(f"{job.subject} could not be measured: {result}")
        else:
            found[job.subject] = result
            _keep(job, segmenter, result)
    return {job.subject: found[job.subject] for job in jobs if job.subject in found}, problems


def _run(
    jobs: Sequence[SubjectJob], fit_for: FitFor, segmenter: Segmenter, processes: int, mem: float | None
) -> Iterator[tuple[SubjectJob, SubjectMetrics | str]]:
    room = processes if mem is None else min(processes, int(mem / _GB_PER_PROCESS))
    workers = min(room, math.ceil(len(jobs) / _JOBS_PER_PROCESS))
    if workers < 2:
        yield from ((job, _measure(job, fit_for(job.subject), segmenter, processes)) for job in jobs)
        return
    with process_pool(workers) as pool:
        futures = {pool.submit(_measure, job, fit_for(job.subject), segmenter, 1): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise TryAgainError(
                "A process of the evaluation was killed, most likely for lack of memory: run again with less "
                "--nprocs (what was measured is kept), or with --no-evaluation."
            ) from error


def _measure(job: SubjectJob, fit: Fit | None, segmenter: Segmenter, threads: int) -> SubjectMetrics | str:
    """Measure one subject, or say why that is not possible."""
    import torch

    torch.set_num_threads(threads)
    try:
        with freed_memory_kept():
            scans = [read_both(scan, job.grid) for scan in job.scans]
            return measure_subject(scans, job.pairs, fit, segmenter, raw_target=job.raw_target)
    except BadDataError as error:
        return str(error)


def _keep(job: SubjectJob, segmenter: Segmenter, metrics: SubjectMetrics) -> None:
    try:
        write_json(job.kept, {"Key": job.key(segmenter.name), "Metrics": metrics.to_dict()})
    except OSError as error:
        logger.debug("The metrics of %s are not kept for the next run: %s", job.subject, error)


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except FileNotFoundError:
        return f"{path.name} missing"
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"


def _kept(job: SubjectJob, segmenter: Segmenter) -> SubjectMetrics | None:
    """The metrics of an earlier run, if they are of the same files and made in the same way."""
    try:
        stored = json.loads(job.kept.read_text(encoding="utf-8"))
        if stored["Key"] == job.key(segmenter.name):
            return SubjectMetrics.from_dict(stored["Metrics"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None
