"""Removing what other options, or another raw file, left of a scan and the new ones would not overwrite."""

from bids_mmh.derivatives.jobs import ScanJob
from bids_mmh.derivatives.outputs import OUTPUTS
from bids_mmh.files import remove_leftovers

IMAGES = ("mni_preproc", "mni_harmonized", "mni_change", "native_preproc", "native_harmonized", "native_mask")


def remove_stale(job: ScanJob) -> None:
    """Remove results of earlier options before the scan is written anew.

    A run without the scan's own space, or without a model, does not write over such images: they would stay
    beside the new ones as if both belonged together.

    Args:
        job: a scan whose preprocessing is about to be written; where that is the same as before, what an
            earlier run left is right, and stays.
    """
    if job.is_current("preproc"):
        return
    kept = set(job.expected())
    for output in IMAGES:
        if job.path(output) not in kept:
            # The sidecar goes first: an image without one counts as not done.
            job.sidecar(output).unlink(missing_ok=True)
            job.path(output).unlink(missing_ok=True)


def remove_temporary(job: ScanJob) -> None:
    """Remove the temporary files of a run that was killed while it wrote derivatives of the scan.

    Args:
        job: a scan that only this process writes now.
    """
    for output in (key for key, kind in OUTPUTS.items() if "{scan}" in kind.pattern):
        path = job.path(output)
        remove_leftovers(path.parent, path.name.partition(".")[0] + ".")
