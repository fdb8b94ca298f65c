"""Jobs made from derivatives alone: what the group level harmonizes, named as participant names it."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bids_mmh.bids.names import parse_name
from bids_mmh.bids.session import Scan, Session
from bids_mmh.derivatives.jobs import ScanJob, SessionJob
from bids_mmh.derivatives.models import ModelReference, require_sequences
from bids_mmh.derivatives.outputs import mask_label
from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import UsageError
from bids_mmh.preprocess.template import find_template
from bids_mmh.settings import Settings


def session_jobs(
    settings: Settings, model: ModelReference, scans: Sequence[DerivedScan], folder: Path
) -> list[SessionJob]:
    """Make the jobs of the sessions of some preprocessed scans.

    Args:
        settings: options of the run.
        model: what to harmonize with.
        scans: of one template space.
        folder: for files of the template that are made from others.

    Raises:
        UsageError: the model does not know a sequence, or its grid is finer than that of the scans.
    """
    _check(model, scans)
    template = find_template(scans[0].name.space, folder)
    by_session: dict[tuple[str, str | None], list[DerivedScan]] = defaultdict(list)
    for scan in scans:
        by_session[scan.subject, scan.session].append(scan)
    jobs = []
    for (subject, session), own in by_session.items():
        raw = {scan.sidecar: _raw_scan(scan, settings) for scan in own}
        anchor = next((raw[scan.sidecar] for scan in own if _is_anchor(scan)), raw[own[0].sidecar])
        made = tuple(_job(scan, raw[scan.sidecar], anchor, settings, model) for scan in own)
        jobs.append(
            SessionJob(Session(subject.removeprefix("sub-"), session, tuple(raw.values())), made, template)
        )
    return jobs


def coarser(job: ScanJob, folder: Path) -> None:
    """Average a preprocessed scan down to the grid of a coarser model, and write it beside the finer one.

    Args:
        job: the scan, with the model's voxel size; ``preprocessed`` is that of the finer one.
        folder: for work files.
    """
    import nibabel as nib

    from bids_mmh.participant.outputs import write_preprocessed
    from bids_mmh.preprocess.grid import model_grid
    from bids_mmh.preprocess.images import save_nifti
    from bids_mmh.preprocess.steps.coarsen import coarsen

    assert job.preprocessed is not None
    finer, grid = job.preprocessed, model_grid(job.spacing)
    image = nib.Nifti1Image.from_filename(finer.image)
    mask = np.asarray(nib.Nifti1Image.from_filename(finer.mask).dataobj) > 0
    values, brain = coarsen(np.asarray(image.dataobj, dtype=np.float32), mask, grid)
    work = derivatives_of(job) | {"to_anchor_xfm": job.path("to_anchor")}
    for name, array in (("mni_preproc", values), ("mni_mask", brain.astype(np.uint8))):
        made = nib.Nifti1Image(array, grid.affine)
        made.set_sform(grid.affine, code="mni")
        made.set_qform(grid.affine, code="mni")
        work[name] = save_nifti(made, folder / f"{name}.nii.gz")
    quality = {**(finer.fields.preprocessing or {}), "averaged_from": finer.image.name}
    work["qc_json"] = folder / "qc.json"
    work["qc_json"].write_text(json.dumps(quality | {"warnings": finer.fields.quality_warnings or ()}))
    write_preprocessed(job, work)


def derivatives_of(job: ScanJob) -> dict[str, Path]:
    """The preprocessed derivatives of a scan, by the names that the preprocessing gives its work files."""
    files = {
        "mni_preproc": job.path("mni_preproc"),
        "mni_mask": job.path("mni_mask"),
        "to_mni_xfm": job.path("to_template"),
    }
    if "native" in job.settings.output_spaces:
        files["native_preproc"] = job.path("native_preproc")
        files["native_mask"] = job.path("native_mask")
    return files


def _check(model: ModelReference, scans: Sequence[DerivedScan]) -> None:
    require_sequences(model, (scan.sequence for scan in scans))
    for scan in scans:
        factor = model.config.spacing / scan.name.spacing
        if factor < 1 or abs(factor - round(factor)) > 1e-6:
            raise UsageError(
                f"The model '{model.name}' works on voxels of {model.config.spacing:g} mm, but those of "
                f"{scan.image.name} are {scan.name.spacing:g} mm: run participant --model {model.folder} "
                "instead."
            )


def _raw_scan(scan: DerivedScan, settings: Settings) -> Scan:
    """The raw scan as the sidecar names it; it need not be there."""
    sources = scan.fields.sources or ()
    named = next((uri.removeprefix("bids:raw:") for uri in sources if uri.startswith("bids:raw:")), None)
    path = settings.bids_dir / (named or scan.image.name)
    return Scan(path, scan.sequence, scan.name.source_entities, scan.fields.site)


def _is_anchor(scan: DerivedScan) -> bool:
    """Whether its session was registered by this scan: the name of the mask tells."""
    return parse_name(scan.mask.name).entities.get("desc") == mask_label(True, scan.sequence)


def _job(scan: DerivedScan, raw: Scan, anchor: Scan, settings: Settings, model: ModelReference) -> ScanJob:
    job = ScanJob(raw, anchor, scan.name.space, model.config.spacing, settings, model, preprocessed=scan)
    native = [job.path("native_preproc"), job.path("native_mask")]
    there = all(file.is_file() for file in native)
    spaces = tuple(space for space in settings.output_spaces if space == "MNI" or there)
    own = settings.model_copy(update={"output_spaces": spaces or ("MNI",), "template": scan.name.space})
    return replace(job, settings=own)
