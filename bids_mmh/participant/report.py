"""The page of one session, made from its derivatives alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bids_mmh.bids.atomic import write_text
from bids_mmh.derivatives.jobs import ScanJob, SessionJob
from bids_mmh.derivatives.sidecar import ImageStatistics, Model, Sidecar
from bids_mmh.errors import BadDataError
from bids_mmh.files import remove_leftovers
from bids_mmh.participant.boilerplate import boilerplate, versions

if TYPE_CHECKING:
    import nibabel as nib

    from bids_mmh.reports.subject import ScanReport

_UNCORRECTED = 1e-3  # relative change of a voxel that rounding of a stored scan can make


def write_session_page(job: SessionJob, warnings: tuple[str, ...] = ()) -> Path:
    """Write ``sub-X[_ses-Y].html`` from what lies in the output folder.

    Args:
        job: the session; scans without derivatives are left out.
        warnings: sentences about the session, such as why a scan is missing.
    """
    from bids_mmh.reports.subject import render_subject_report

    found = _found(job)
    brains = [_brain(scan) for scan in found]
    anchor = next((brain for scan, brain in zip(found, brains, strict=True) if scan.is_anchor), None)
    reports = [_scan_report(scan, job, brain, anchor) for scan, brain in zip(found, brains, strict=True)]
    html = render_subject_report(
        subject=job.session.subject,
        session=job.session.session,
        scans=reports,
        log=_log(found),
        boilerplate=boilerplate(job.settings, job.scans[0].model, job.template, _device(found)),
        settings=job.settings.result_options(),
        versions=versions(),
        warnings=warnings,
    )
    remove_leftovers(job.page.parent, job.page.name)
    return write_text(job.page, html)


def has_results(job: SessionJob) -> bool:
    """Whether there is any derivative of the session to write a page from."""
    return bool(_found(job))


def _found(job: SessionJob) -> list[ScanJob]:
    return [scan for scan in job.scans if scan.sidecar("mni_preproc").is_file()]


@dataclass(frozen=True, eq=False)
class _Brain:
    """A preprocessed scan on the model's grid, scaled, background -1."""

    volume: NDArray[Any]
    affine: NDArray[Any]
    mask: NDArray[np.bool_]


def _brain(job: ScanJob) -> _Brain:
    mask = _load(job.path("mni_mask"))[0] > 0
    return _Brain(*_load_scaled(job, "preproc", mask), mask)


def _scan_report(job: ScanJob, session: SessionJob, brain: _Brain, anchor: _Brain | None) -> "ScanReport":
    from bids_mmh.evaluation.metrics.anatomical_change import THRESHOLD
    from bids_mmh.reports.subject import ScanReport

    desc = "harmonized" if _is_harmonized(job) else "preproc"
    fields = _sidecar(job, desc)
    native = _native(job)
    statistics, model = fields.image_statistics or ImageStatistics(), fields.model or Model()
    return ScanReport(
        sequence=job.scan.sequence,
        name=job.scan.path.name,
        site=job.scan.site,
        before=brain.volume,
        mask=brain.mask,
        affine=brain.affine,
        statistics_before=statistics.before or {},
        after=_load_scaled(job, "harmonized", brain.mask)[0] if desc == "harmonized" else None,
        change=_change(job) if desc == "harmonized" else None,
        change_limit=THRESHOLD,
        statistics_after=statistics.after,
        space=job.space,
        template=_template(session, job.spacing),
        anchor=None if job.is_anchor or anchor is None else anchor.volume,
        native_image=native.image,
        native_mask=native.mask,
        native_bias=native.bias,
        native_affine=native.affine,
        qc=_flat(fields),
        warnings=fields.quality_warnings or (),
        model=model.name,
        target=model.target,
        sidecars={
            label: job.sidecar(f"mni_{label}").relative_to(job.settings.output_dir).as_posix()
            for label in dict.fromkeys(("preproc", desc))
        },
    )


def _sidecar(job: ScanJob, desc: str) -> Sidecar:
    return Sidecar.read(job.sidecar(f"mni_{desc}"))


def _load(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Voxels and affine of one of our own images, axes in RAS order."""
    from bids_mmh.preprocess.images import open_nifti

    return _in_ras(open_nifti(path))


def _in_ras(image: "nib.Nifti1Image") -> tuple[NDArray[Any], NDArray[Any]]:
    import nibabel as nib

    turned = nib.as_closest_canonical(image)
    return np.asarray(turned.dataobj, dtype=np.float32), np.asarray(turned.affine)


def _load_scaled(job: ScanJob, desc: str, mask: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    volume, affine = _load(job.path(f"mni_{desc}"))
    scaling = _sidecar(job, desc).intensity_scaling
    if scaling is None:
        raise BadDataError(f"The sidecar of {job.path(f'mni_{desc}')} has no scaling: run participant again.")
    return np.where(mask, volume * scaling.slope + scaling.intercept, -1.0), affine


def _change(job: ScanJob) -> NDArray[Any] | None:
    """The map of the anatomical change; None where an earlier version left none."""
    path = job.path("mni_change")
    return _load(path)[0] if path.is_file() else None


@dataclass(frozen=True, eq=False)
class _Native:
    """A scan on its own voxels, axes in RAS order; None where there is nothing to show."""

    image: NDArray[Any] | None = None
    mask: NDArray[Any] | None = None
    affine: NDArray[Any] | None = None
    bias: NDArray[Any] | None = None


def _native(job: ScanJob) -> _Native:
    """The raw scan, or its preprocessed copy where the raw one is gone or lies on other voxels."""
    if not job.path("native_preproc").is_file():
        return _Native()
    preproc, affine = _load(job.path("native_preproc"))
    mask = _load(job.path("native_mask"))[0]
    raw = _raw(job, affine, preproc.shape)
    if raw is None:
        return _Native(preproc, mask, affine)
    return _Native(raw, mask, affine, _bias(raw, preproc, mask))


def _bias(raw: NDArray[Any], preproc: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any] | None:
    """What the brain was divided by, not a number elsewhere; None where nothing was changed."""
    from bids_mmh.preprocess.images import box_around

    box = box_around(mask > 0, 0)
    before, after = raw[box], preproc[box]
    usable = (mask[box] > 0) & (after > 0) & (before > 0)
    bias = np.full(raw.shape, np.nan, np.float32)
    np.divide(before, after, out=bias[box], where=usable)
    corrected = bool((np.abs(bias[box][usable] - 1) > _UNCORRECTED).any())
    return bias if corrected else None


def _raw(job: ScanJob, affine: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any] | None:
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    from bids_mmh.preprocess.images import open_nifti
    from bids_mmh.preprocess.steps.load import nifti1_in_mm

    path = job.scan.path
    try:
        kind: Any = type(nib.load(path))
        image, raw_affine = _in_ras(nifti1_in_mm(open_nifti(path, kind)))
    except (OSError, EOFError, ValueError, ImageFileError):  # moved, or on another machine
        return None
    image = np.nan_to_num(image.squeeze(), posinf=0, neginf=0)
    same = image.shape == shape and np.allclose(raw_affine, affine, atol=1e-3)
    return image if same else None


def _template(session: SessionJob, spacing: float) -> NDArray[Any]:
    from bids_mmh.preprocess.grid import model_grid
    from bids_mmh.preprocess.images import to_array
    from bids_mmh.preprocess.steps.resample import apply_mask, template_on_grid

    standard = session.template
    template = template_on_grid(standard.t1w, standard.brain_mask, model_grid(spacing))
    return to_array(apply_mask(template.t1w, template.brain_mask))


def _flat(fields: Sidecar) -> dict[str, Any]:
    """Quality figures in one level, for a table."""
    own = (
        "anatomy_preservation",
        "anatomical_change",
        "clipped_fraction",
        "device",
        "precision",
        "device_fallback",
    )
    shown = fields.model_dump(by_alias=True, include=set(own) & fields.model_fields_set)
    for key, value in (fields.preprocessing or {}).items():
        if isinstance(value, dict):
            shown |= {f"{key}: {name}": inner for name, inner in value.items()}
        elif value != []:  # no notes need no row
            shown[key] = value
    return shown


def _device(scans: list[ScanJob]) -> str:
    """What the model ran on, from the sidecars."""
    devices = [str(_sidecar(job, "harmonized").device) for job in scans if _is_harmonized(job)]
    return " and ".join(dict.fromkeys(devices)) or "no device"


def _is_harmonized(job: ScanJob) -> bool:
    return job.model is not None and job.sidecar("mni_harmonized").is_file()


def _log(scans: list[ScanJob]) -> str:
    """What was done to each scan, from the sidecars."""
    return "\n".join(line for job in scans for line in _log_lines(job))


def _log_lines(job: ScanJob) -> list[str]:
    fields = _sidecar(job, "harmonized" if _is_harmonized(job) else "preproc")
    lines = [job.scan.path.name, *(f"  {note}" for note in (fields.preprocessing or {}).get("notes", []))]
    if fields.model is not None:
        model = fields.model
        lines.append(
            f"  harmonized on {fields.device} ({fields.precision}) by {model.name} "
            f"({(model.sha256 or '')[:8]}), target {model.target}"
        )
    return [*lines, *(f"  warning: {sentence}" for sentence in fields.quality_warnings or ())]
