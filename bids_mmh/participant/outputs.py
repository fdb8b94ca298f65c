"""The derivatives of one scan: images, masks, transforms and sidecars, made from work files."""

import json
import logging
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bids_mmh import __version__
from bids_mmh.bids.names import parse_name
from bids_mmh.bids.provenance import APP_NAME, bids_uri
from bids_mmh.derivatives.checked_images import (
    Voxels,
    clipping_flags,
    publish_map,
    publish_mask,
    publish_scan,
)
from bids_mmh.derivatives.jobs import ScanJob
from bids_mmh.derivatives.sidecar import (
    KEPT,
    GeneratedBy,
    ImageStatistics,
    IntensityScaling,
    Sampling,
    Sidecar,
)
from bids_mmh.files import atomic_path
from bids_mmh.participant.harmonize import Harmonized, scale_brain
from bids_mmh.participant.intensity_units import (
    STORED_INTERCEPT,
    STORED_SLOPE,
    change_image,
    stored_image,
    stored_on_native,
)
from bids_mmh.participant.stale import remove_stale, remove_temporary
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.images import open_nifti

logger = logging.getLogger(__name__)


def write_scan(job: ScanJob, work: Mapping[str, Any]) -> None:
    """Write all derivatives of a scan.

    Args:
        job: the scan.
        work: files of the preprocessing (the fields of ``out_<key>``) and, unless only preprocessing,
            ``harmonized``, ``device``, ``precision`` and ``seconds`` of the harmonize node.
    """
    remove_stale(job)
    write_preprocessed(job, work)
    if job.model is not None:
        write_harmonized(job, work)


def write_preprocessed(job: ScanJob, work: Mapping[str, Any]) -> None:
    """Write the derivatives of the preprocessing; see :func:`write_scan`."""
    from bids_mmh.evaluation.metrics.statistics import image_statistics

    remove_temporary(job)
    before, mask, scaling = _scaled(work)
    statistics = ImageStatistics(before=image_statistics(before[mask]).to_dict())
    fields = _preproc_fields(job, work).with_fields(
        intensity_scaling=IntensityScaling(slope=scaling[0], intercept=scaling[1]),
        image_statistics=statistics,
    )
    _copy_transforms(job, work)
    clipped = _publish_preprocessed(job, work, fields)
    _write_preproc_sidecars(job, fields, clipped)


def _scaled(work: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """The preprocessed scan as the model sees it, its mask, and slope and intercept of the scaling."""
    mask = np.asarray(open_nifti(Path(work["mni_mask"])).dataobj) > 0
    values = np.asarray(open_nifti(Path(work["mni_preproc"])).dataobj, dtype=np.float32)
    before, slope, intercept = scale_brain(values, mask)
    return before, mask, (slope, intercept)


def _copy_transforms(job: ScanJob, work: Mapping[str, Any]) -> None:
    copies = {} if job.from_standard else {job.path("to_template"): work["to_mni_xfm"]}
    if not job.is_anchor and not job.from_standard:
        copies[job.path("to_anchor")] = work["to_anchor_xfm"]
    for target, source in copies.items():
        with atomic_path(target) as temporary:
            temporary.write_bytes(Path(source).read_bytes())


def _publish_preprocessed(job: ScanJob, work: Mapping[str, Any], fields: Sidecar) -> dict[str, float]:
    """Copy mask and scan of each space; returns the clipped fraction of each scan by its key."""
    clipped = {}
    for space in job.wanted_spaces():
        mask, scan, voxels = f"{space}_mask", f"{space}_preproc", _voxels(job, work, fields, space)
        brain = publish_mask(Path(work[mask]), job.path(mask), voxels)
        clipped[scan] = publish_scan(Path(work[scan]), job.path(scan), voxels, brain)
    return clipped


def _voxels(job: ScanJob, work: Mapping[str, Any], fields: Sidecar, space: str) -> Voxels:
    """What results of a space must lie on: the grid, or the voxels of the file that was acquired or given."""
    if space == "mni":
        return Voxels.of_grid(model_grid(job.spacing))
    replaced = "spatial_reference" in (fields.preprocessing or {})
    acquired = job.given.preproc.path if replaced and job.given.preproc else job.scan.path
    # A study that is harmonized later may have left its raw scans elsewhere.
    there = acquired.is_file() and not job.preprocessed
    return Voxels.of_file(acquired if there else Path(work["native_mask"]))


def _clipping_flags(job: ScanJob, clipped: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(flag for key, share in clipped.items() for flag in clipping_flags(job.path(key).name, share))


def _preproc_fields(job: ScanJob, work: Mapping[str, Any]) -> Sidecar:
    qc = json.loads(Path(work["qc_json"]).read_text(encoding="utf-8"))
    # Times go to the log: the files of two runs with one input and one seed are the same.
    logger.info("%s: CPU seconds of the steps: %s", job.scan.path.name, qc.get("seconds") or "not known")
    fields = Sidecar(
        site=job.scan.site,
        sequence=job.scan.sequence,
        space=job.space,
        brain_mask=job.path("mni_mask").name,
        quality_warnings=tuple(qc.get("warnings", [])),
        preprocessing={key: value for key, value in qc.items() if key not in ("warnings", "seconds")},
        raw_fingerprint=job.raw_fingerprint,
        configuration_hash=job.preprocessing_hash,
        generated_by=GeneratedBy(name=APP_NAME, version=__version__),
        random_seed=job.settings.random_seed,
    )
    optional = {"anchor_fingerprint": job.anchor_fingerprint, "derivatives_found": job.derivatives_found()}
    return fields.with_fields(**{name: value for name, value in optional.items() if value})


def _write_preproc_sidecars(job: ScanJob, fields: Sidecar, clipped: Mapping[str, float]) -> None:
    given = (fields.preprocessing or {}).get("given", {})
    standard = [job.given.standard.uri] if job.from_standard and job.given.standard else []
    sources = (_raw_uri(job), *standard, *given.values())
    mask = Sidecar(type="Brain", sources=(given.get("mask", sources[0]),))
    resolution = _resolution(job)
    _write_sidecar(job, "mni_mask", mask.with_fields(resolution=resolution))
    if "native" in job.wanted_spaces():
        native = fields.with_fields(
            skull_stripped=False,
            sources=sources,
            spatial_reference=_native_reference(job, fields),
            clipped_fraction=clipped["native_preproc"],
        )
        _write_sidecar(job, "native_mask", mask)
        _write_sidecar(job, "native_preproc", native)
    # The template-space sidecar comes last: it is what says that the scan is done.
    mni = fields.with_fields(
        skull_stripped=True,
        sources=sources,
        resolution=resolution,
        clipped_fraction=clipped["mni_preproc"],
        quality_warnings=_joined(fields.quality_warnings or (), _clipping_flags(job, clipped)),
    )
    _write_sidecar(job, "mni_preproc", mni)


def _write_sidecar(job: ScanJob, output: str, fields: Sidecar) -> Path:
    return fields.write(job.sidecar(output), output)


def _raw_uri(job: ScanJob) -> str:
    return bids_uri("raw", job.scan.path, job.settings.bids_dir)


def _native_reference(job: ScanJob, fields: Sidecar) -> str:
    """The image whose voxels native results have: the scan, or a preprocessed image that took its place."""
    return str((fields.preprocessing or {}).get("spatial_reference", _raw_uri(job)))


def write_harmonized(job: ScanJob, work: Mapping[str, Any]) -> None:
    """Write the harmonized images of a scan whose preprocessed derivatives are there.

    Args:
        job: the scan, with its model.
        work: ``mni_preproc``, ``mni_mask``, ``harmonized``, ``device``, ``precision`` and ``seconds``; for
            the scan's own voxels also ``to_mni_xfm``, ``native_preproc`` and ``native_mask``.
    """
    from bids_mmh.evaluation.metrics.anatomical_change import anatomical_change, anatomical_change_map
    from bids_mmh.evaluation.metrics.anatomy import anatomy_preservation
    from bids_mmh.evaluation.metrics.statistics import image_statistics

    assert job.model is not None
    logger.info("%s: %s s in the model on %s", job.scan.path.name, work["seconds"], work["device"])
    remove_temporary(job)
    before, mask, scaling = _scaled(work)
    image = open_nifti(Path(work["harmonized"]))
    after = np.asarray(image.dataobj, dtype=np.float32)
    grid, target = Voxels.of_grid(model_grid(job.spacing)), job.path("mni_harmonized")
    clipped = {"mni_harmonized": publish_scan(stored_image(after, mask, image), target, grid, mask)}
    kept = anatomy_preservation(before, after, mask)
    spacing = job.model.config.spacing
    change_map = anatomical_change_map(before, after, mask, spacing_mm=spacing)
    change = anatomical_change(change_map, mask)
    fields = _harmonized_fields(job, work, image_statistics(after[mask]).to_dict())
    if "native" in job.settings.output_spaces:
        result = Harmonized(before, after, *scaling)
        clipped["native_harmonized"] = _write_native(job, work, result=result, mask=mask, fields=fields)
    flags = (fields.quality_warnings or (), _anatomy_flags(kept, change), _clipping_flags(job, clipped))
    # The template-space sidecar comes last: it is what says that the scan is done.
    content = fields.with_fields(
        skull_stripped=True,
        sources=(bids_uri("", job.path("mni_preproc"), job.settings.output_dir),),
        resolution=_resolution(job),
        anatomy_preservation=kept,
        anatomical_change=change,
        clipped_fraction=clipped["mni_harmonized"],
        quality_warnings=_joined(*flags),
    )
    publish_map(change_image(change_map, image), job.path("mni_change"), grid)
    compared = [bids_uri("", file, job.settings.output_dir) for file in (job.path("mni_preproc"), target)]
    _write_sidecar(job, "mni_change", content.with_fields(sources=tuple(compared)))
    written = _write_sidecar(job, "mni_harmonized", content)
    _remove_other_grids(written)


def _joined(*flags: Iterable[str]) -> tuple[str, ...]:
    """Sentences in order, each once: what is averaged from a finer image has its flags already."""
    return tuple(dict.fromkeys(chain.from_iterable(flags)))


def _anatomy_flags(kept: float, change: float) -> tuple[str, ...]:
    """Sentences on anatomy that a harmonized scan has lost."""
    from bids_mmh.evaluation.metrics.anatomical_change import THRESHOLD
    from bids_mmh.evaluation.outliers import ANATOMY_LOST

    flags = []
    if kept < ANATOMY_LOST:
        flags.append(
            f"Harmonization did not keep the anatomy: the gradients before and after have a cosine of "
            f"{kept:.2f} (flagged below {ANATOMY_LOST:g}). Do not use the image before you have looked at it."
        )
    if change > THRESHOLD:
        flags.append(
            f"Harmonization changed more than contrast: {change:.2f} of the intensity range is explained by "
            f"no local change of contrast (flagged above {THRESHOLD:g}). Compare the images before and after."
        )
    return tuple(flags)


def _harmonized_fields(job: ScanJob, work: Mapping[str, Any], after: Mapping[str, Any]) -> Sidecar:
    """What the model's run says of itself, and what it repeats of the preprocessed scan."""
    assert job.model is not None
    preproc = Sidecar.read(job.sidecar("mni_preproc"))
    before = preproc.image_statistics.before if preproc.image_statistics else None
    config = job.model.config
    kept = {name: getattr(preproc, name) for name in KEPT if name in preproc.model_fields_set}
    return Sidecar().with_fields(
        **kept,
        configuration_hash=job.configuration_hash("mni_harmonized"),
        generated_by=GeneratedBy(name=APP_NAME, version=__version__),
        intensity_scaling=IntensityScaling(slope=STORED_SLOPE, intercept=STORED_INTERCEPT),
        image_statistics=ImageStatistics(before=before, after=after),
        model=job.model.provenance,
        sampling=Sampling(
            depth=config.depth,
            inversion_steps=config.inversion_steps,
            sampling_steps=config.sampling_steps,
        ),
        device=work["device"],
        precision=work["precision"],
        **({"device_fallback": work["fallback"]} if work.get("fallback") else {}),
    )


def _remove_other_grids(sidecar_file: Path) -> None:
    """Remove what models of other grids have made of the scan: it has one harmonized version."""
    own = parse_name(sidecar_file.name)
    for other in sidecar_file.parent.glob(f"*_desc-harmonized_{own.suffix}.json"):
        name = parse_name(other.name)
        if other != sidecar_file and (name.source, name.space) == (own.source, own.space):
            change = other.with_name(other.name.replace("_desc-harmonized_", "_desc-change_"))
            for file in (other, change):
                file.unlink(missing_ok=True)
                file.with_suffix(".nii.gz").unlink(missing_ok=True)


def _write_native(
    job: ScanJob, work: Mapping[str, Any], *, result: Harmonized, mask: np.ndarray, fields: Sidecar
) -> float:
    """Write the harmonized scan on its own voxels; returns its clipped fraction."""
    native = stored_on_native(
        result,
        mask,
        grid=model_grid(job.spacing),
        to_mni_xfm=Path(work["to_mni_xfm"]),
        preproc=Path(work["native_preproc"]),
        brain=Path(work["native_mask"]),
        outside=job.settings.outside,
    )
    brain = np.asarray(open_nifti(Path(work["native_mask"])).dataobj) > 0
    voxels = Voxels.of_file(Path(work["native_preproc"]))
    clipped = publish_scan(native, job.path("native_harmonized"), voxels, brain)
    root = job.settings.output_dir
    content = fields.with_fields(
        configuration_hash=job.configuration_hash("native_harmonized"),
        skull_stripped=job.settings.outside == "zero",
        sources=tuple(
            bids_uri("", path, root) for path in (job.path("native_preproc"), job.path("mni_harmonized"))
        ),
        spatial_reference=_native_reference(job, fields),
        clipped_fraction=clipped,
    )
    _write_sidecar(job, "native_harmonized", content)
    return clipped


def _resolution(job: ScanJob) -> str:
    return (
        f"{job.spacing:g} mm isotropic, the model's {'x'.join(map(str, model_grid(job.spacing).shape))} grid"
    )
