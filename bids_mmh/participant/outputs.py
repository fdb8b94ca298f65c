"""The derivatives of one scan: images, masks, transforms and sidecars, made from work files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bids_mmh import __version__
from bids_mmh.bids.atomic import write_json
from bids_mmh.bids.provenance import bids_uri, sidecar
from bids_mmh.derivatives.jobs import ScanJob
from bids_mmh.files import atomic_path
from bids_mmh.participant.harmonize import Harmonized, scale_brain
from bids_mmh.participant.intensity_units import (
    STORED_INTERCEPT,
    STORED_SLOPE,
    stored_image,
    stored_on_native,
)
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.images import save_nifti

# What the sidecar of a harmonized scan repeats of that of the preprocessed one.
_KEPT = (
    "Site",
    "Sequence",
    "Space",
    "BrainMask",
    "QualityWarnings",
    "Preprocessing",
    "RawFingerprint",
    "DerivativesFound",
    "RandomSeed",
)


def write_scan(job: ScanJob, work: Mapping[str, Any]) -> None:
    """Write all derivatives of a scan.

    Args:
        job: the scan.
        work: files of the preprocessing (the fields of ``out_<key>``) and, unless only preprocessing,
            ``harmonized``, ``device``, ``precision`` and ``seconds`` of the harmonize node.
    """
    write_preprocessed(job, work)
    if job.model is not None:
        write_harmonized(job, work)


def write_preprocessed(job: ScanJob, work: Mapping[str, Any]) -> None:
    """Write the derivatives of the preprocessing; see :func:`write_scan`."""
    from bids_mmh.evaluation.metrics.statistics import image_statistics

    before, mask, (slope, intercept) = _scaled(work)
    fields = _preproc_fields(job, work, slope, intercept)
    _copy_work_files(job, work)
    statistics = {"before": image_statistics(before[mask]).to_dict()}
    _write_preproc_sidecars(job, fields | {"ImageStatistics": statistics})


def _scaled(work: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """The preprocessed scan as the model sees it, its mask, and slope and intercept of the scaling."""
    import nibabel as nib

    mask = np.asarray(nib.Nifti1Image.from_filename(work["mni_mask"]).dataobj) > 0
    values = np.asarray(nib.Nifti1Image.from_filename(work["mni_preproc"]).dataobj, dtype=np.float32)
    before, slope, intercept = scale_brain(values, mask)
    return before, mask, (slope, intercept)


def _copy_work_files(job: ScanJob, work: Mapping[str, Any]) -> None:
    copies = {
        job.path("preproc", mni=True): work["mni_preproc"],
        job.mask_path(mni=True): work["mni_mask"],
    }
    if not job.from_standard:
        copies[job.transform_path(job.space)] = work["to_mni_xfm"]
    if not job.is_anchor and not job.from_standard:
        copies[job.transform_path(job.anchor.sequence)] = work["to_anchor_xfm"]
    if "native" in job.settings.output_spaces:
        copies[job.path("preproc", mni=False)] = work["native_preproc"]
        copies[job.mask_path(mni=False)] = work["native_mask"]
    for target, source in copies.items():
        with atomic_path(target) as temporary:
            temporary.write_bytes(Path(source).read_bytes())


def _preproc_fields(job: ScanJob, work: Mapping[str, Any], slope: float, intercept: float) -> dict[str, Any]:
    qc = json.loads(Path(work["qc_json"]).read_text(encoding="utf-8"))
    return {
        "Site": job.scan.site,
        "Sequence": job.scan.sequence,
        "Space": job.space,
        "BrainMask": job.mask_path(mni=True).name,
        "IntensityScaling": {"Slope": slope, "Intercept": intercept},
        "QualityWarnings": list(qc.get("warnings", [])),
        "Preprocessing": {key: value for key, value in qc.items() if key != "warnings"},
        "RawFingerprint": job.raw_fingerprint,
        **({"DerivativesFound": found} if (found := job.derivatives_found()) else {}),
        "ConfigurationHash": job.preprocessing_hash,
        "GeneratedBy": {"Name": "bids-mmh", "Version": __version__},
        "RandomSeed": job.settings.random_seed,
    }


def _write_preproc_sidecars(job: ScanJob, fields: Mapping[str, Any]) -> None:
    given = fields["Preprocessing"].get("given", {})
    standard = [job.given.standard.uri] if job.from_standard and job.given.standard else []
    sources = [_raw_uri(job), *standard, *given.values()]
    for mni in job.wanted_spaces():
        content = sidecar(
            skull_stripped=mni,
            sources=sources,
            resolution=_resolution(job) if mni else None,
            spatial_reference=None if mni else _native_reference(job, fields),
            extra=fields
            if mni
            else {k: fields[k] for k in ("Site", "Sequence", "ConfigurationHash", "GeneratedBy")},
        )
        write_json(job.path("preproc", mni=mni, extension=".json"), content)
        mask = {"Type": "Brain", "Sources": [given.get("mask", sources[0])]} | (
            {"Resolution": _resolution(job)} if mni else {}
        )
        write_json(job.mask_path(mni=mni).with_suffix("").with_suffix(".json"), mask)


def _raw_uri(job: ScanJob) -> str:
    return bids_uri("raw", job.scan.path, job.settings.bids_dir)


def _native_reference(job: ScanJob, fields: Mapping[str, Any]) -> str:
    """The image whose voxels native results have: the scan, or a preprocessed image that took its place."""
    return str(fields["Preprocessing"].get("spatial_reference", _raw_uri(job)))


def write_harmonized(job: ScanJob, work: Mapping[str, Any]) -> None:
    """Write the harmonized images of a scan whose preprocessed derivatives are there.

    Args:
        job: the scan, with its model.
        work: ``mni_preproc``, ``mni_mask``, ``harmonized``, ``device``, ``precision`` and ``seconds``; for
            the scan's own voxels also ``to_mni_xfm``, ``native_preproc`` and ``native_mask``.
    """
    import nibabel as nib

    from bids_mmh.evaluation.metrics.anatomy import anatomy_preservation
    from bids_mmh.evaluation.metrics.statistics import image_statistics

    assert job.model is not None
    preproc = json.loads(job.path("preproc", mni=True, extension=".json").read_text(encoding="utf-8"))
    before, mask, scaling = _scaled(work)
    image = nib.Nifti1Image.from_filename(work["harmonized"])
    after = np.asarray(image.dataobj, dtype=np.float32)
    statistics = {
        "before": preproc["ImageStatistics"]["before"],
        "after": image_statistics(after[mask]).to_dict(),
    }
    fields = {key: preproc[key] for key in _KEPT if key in preproc} | {
        "ConfigurationHash": job.configuration_hash,
        "GeneratedBy": {"Name": "bids-mmh", "Version": __version__},
        "IntensityScaling": {"Slope": STORED_SLOPE, "Intercept": STORED_INTERCEPT},
        "ImageStatistics": statistics,
        "AnatomyPreservation": anatomy_preservation(before, after, mask),
        "Model": job.model.provenance,
        "Sampling": {
            "Depth": job.model.config.depth,
            "InversionSteps": job.model.config.inversion_steps,
            "SamplingSteps": job.model.config.sampling_steps,
        },
        "Device": work["device"],
        "Precision": work["precision"],
        "ModelSeconds": work["seconds"],
    }
    save_nifti(stored_image(after, mask, image), job.path("harmonized", mni=True))
    source = bids_uri("", job.path("preproc", mni=True), job.settings.output_dir)
    content = sidecar(skull_stripped=True, sources=[source], resolution=_resolution(job), extra=fields)
    if "native" in job.settings.output_spaces:
        _write_native(job, work, result=Harmonized(before, after, *scaling), mask=mask, fields=fields)
    # The template-space sidecar comes last: it is what says that the scan is done.
    written = write_json(job.path("harmonized", mni=True, extension=".json"), content)
    _remove_other_grids(written)


def _remove_other_grids(sidecar_file: Path) -> None:
    """Remove what models of other grids have made of the scan: it has one harmonized version."""
    parts = sidecar_file.stem.split("_")
    pattern = "_".join("res-*" if part.startswith("res-") else part for part in parts)
    for other in sidecar_file.parent.glob(f"{pattern}.json"):
        if other != sidecar_file:
            other.unlink(missing_ok=True)
            other.with_suffix(".nii.gz").unlink(missing_ok=True)


def _write_native(
    job: ScanJob,
    work: Mapping[str, Any],
    *,
    result: Harmonized,
    mask: np.ndarray,
    fields: Mapping[str, Any],
) -> None:
    native = stored_on_native(
        result,
        mask,
        grid=model_grid(job.spacing),
        to_mni_xfm=Path(work["to_mni_xfm"]),
        preproc=Path(work["native_preproc"]),
        brain=Path(work["native_mask"]),
        outside=job.settings.outside,
    )
    save_nifti(native, job.path("harmonized", mni=False))
    source = bids_uri("", job.path("preproc", mni=False), job.settings.output_dir)
    kept = ("Site", "Sequence", "ConfigurationHash", "GeneratedBy", "Model", "IntensityScaling")
    content = sidecar(
        skull_stripped=job.settings.outside == "zero",
        sources=[source, bids_uri("", job.path("harmonized", mni=True), job.settings.output_dir)],
        spatial_reference=_native_reference(job, fields),
        extra={key: fields[key] for key in kept},
    )
    write_json(job.path("harmonized", mni=False, extension=".json"), content)


def _resolution(job: ScanJob) -> str:
    return (
        f"{job.spacing:g} mm isotropic, the model's {'x'.join(map(str, model_grid(job.spacing).shape))} grid"
    )
