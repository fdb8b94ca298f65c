"""The derivatives of one scan: images, masks, transforms and sidecars, written from a session's work files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_mmh import __version__
from bids_mmh.app.models import ModelReference
from bids_mmh.app.settings import Settings
from bids_mmh.bids.atomic import atomic_path, write_json
from bids_mmh.bids.names import derivative_path, mask_desc, transform_name
from bids_mmh.bids.provenance import bids_uri, sidecar
from bids_mmh.bids.session import Scan
from bids_mmh.method.padding import BACKGROUND
from bids_mmh.preprocess.grid import model_grid

# Harmonized intensities are stored as 0 (background) to 1000 for scaled -1 to 1, the same for every scan.
STORED_SLOPE, STORED_INTERCEPT = 2 / 1000, BACKGROUND


@dataclass(frozen=True)
class ScanJob:
    """What is known of a scan before any work: where it comes from and where it goes.

    Attributes:
        scan: the raw scan with its site.
        anchor: the scan its session is registered by (itself, as a rule its T1w).
        space: template space of the derivatives.
        spacing: voxel size of the model's grid in mm.
        settings: options of the run.
        model: the model, None when only preprocessing.
    """

    scan: Scan
    anchor: Scan
    space: str
    spacing: float
    settings: Settings
    model: ModelReference | None

    @property
    def is_anchor(self) -> bool:
        """Whether the session is registered by this scan."""
        return self.scan.path == self.anchor.path

    @property
    def configuration_hash(self) -> str:
        """Digest of everything that alters the results."""
        return self.settings.processing_hash(self.model.sha256 if self.model else None)

    def path(self, desc: str, *, mni: bool, suffix: str | None = None, extension: str = ".nii.gz") -> Path:
        """Path of one of the scan's derivatives."""
        return derivative_path(
            self.settings.output_dir,
            self.scan.entities,
            suffix=suffix or self.scan.sequence,
            extension=extension,
            space=self.space if mni else None,
            res=f"{self.spacing:g}" if mni else None,
            desc=desc,
        )

    def mask_path(self, *, mni: bool) -> Path:
        """Path of the scan's brain mask."""
        return self.path(mask_desc(self.is_anchor, self.scan.sequence), mni=mni, suffix="mask")

    def transform_path(self, target: str) -> Path:
        """Path of the transform of the scan to ``target``."""
        folder = self.mask_path(mni=False).parent
        return folder / transform_name(self.scan.entities, self.scan.sequence, target)

    def expected(self) -> list[Path]:
        """Every image and transform that must exist for the scan to count as done."""
        descs = ["preproc"] if self.model is None else ["preproc", "harmonized"]
        paths = []
        for mni in self.wanted_spaces():
            paths += [self.path(desc, mni=mni) for desc in descs] + [self.mask_path(mni=mni)]
        return [*paths, self.transform_path(self.space)]

    def is_done(self) -> bool:
        """Whether all outputs exist and were made with these settings."""
        if not all(path.is_file() for path in self.expected()):
            return False
        desc = "preproc" if self.model is None else "harmonized"
        try:
            path = self.path(desc, mni=True, extension=".json")
            return (
                json.loads(path.read_text(encoding="utf-8"))["ConfigurationHash"] == self.configuration_hash
            )
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def wanted_spaces(self) -> list[bool]:
        """True for the template space, False for the scan's own: where derivatives are written."""
        # The template space is always written: the group level and training start from it.
        return [True, False] if "native" in self.settings.output_spaces else [True]


def write_scan(job: ScanJob, work: Mapping[str, Any]) -> None:
    """Write all derivatives of a scan.

    Args:
        job: the scan.
        work: files of the preprocessing (the fields of ``out_<key>``) and, unless only preprocessing,
            ``harmonized``, ``device`` and ``seconds`` of the harmonize node.
    """
    import nibabel as nib

    from bids_mmh.evaluation.statistics import image_statistics
    from bids_mmh.preprocess.scaling import intensity_scaling

    before_image = nib.Nifti1Image.from_filename(work["mni_preproc"])
    mask = np.asarray(nib.Nifti1Image.from_filename(work["mni_mask"]).dataobj) > 0
    raw = np.asarray(before_image.dataobj, dtype=np.float32)
    slope, intercept = intensity_scaling(raw[mask])
    before = np.where(mask, slope * raw + intercept, BACKGROUND).astype(np.float32)
    common = _common_fields(job, work, slope, intercept)
    statistics = {"before": image_statistics(before[mask]).to_dict()}
    _copy_work_files(job, work)
    _write_preproc_sidecars(job, common | {"ImageStatistics": statistics})
    if job.model is not None:
        _write_harmonized(job, work, before, mask, statistics, common)


def _copy_work_files(job: ScanJob, work: Mapping[str, Any]) -> None:
    copies = {
        job.path("preproc", mni=True): work["mni_preproc"],
        job.mask_path(mni=True): work["mni_mask"],
        job.transform_path(job.space): work["to_mni_xfm"],
    }
    if not job.is_anchor:
        copies[job.transform_path(job.anchor.sequence)] = work["to_anchor_xfm"]
    if "native" in job.settings.output_spaces:
        copies[job.path("preproc", mni=False)] = work["native_preproc"]
        copies[job.mask_path(mni=False)] = work["native_mask"]
    for target, source in copies.items():
        with atomic_path(target) as temporary:
            temporary.write_bytes(Path(source).read_bytes())


def _common_fields(job: ScanJob, work: Mapping[str, Any], slope: float, intercept: float) -> dict[str, Any]:
    qc = json.loads(Path(work["qc_json"]).read_text(encoding="utf-8"))
    return {
        "Site": job.scan.site,
        "Sequence": job.scan.sequence,
        "Space": job.space,
        "BrainMask": job.mask_path(mni=True).name,
        "IntensityScaling": {"Slope": slope, "Intercept": intercept},
        "QualityWarnings": list(qc.get("warnings", [])),
        "Preprocessing": {key: value for key, value in qc.items() if key != "warnings"},
        "ConfigurationHash": job.configuration_hash,
        "GeneratedBy": {"Name": "bids-mmh", "Version": __version__},
        "RandomSeed": job.settings.random_seed,
    }


def _write_preproc_sidecars(job: ScanJob, fields: Mapping[str, Any]) -> None:
    raw = bids_uri("raw", job.scan.path, job.settings.bids_dir)
    for mni in job.wanted_spaces():
        content = sidecar(
            skull_stripped=mni,
            sources=[raw],
            resolution=_resolution(job) if mni else None,
            spatial_reference=None if mni else raw,
            extra=fields
            if mni
            else {k: fields[k] for k in ("Site", "Sequence", "ConfigurationHash", "GeneratedBy")},
        )
        write_json(job.path("preproc", mni=mni, extension=".json"), content)
        mask = {"Type": "Brain", "Sources": [raw]} | ({"Resolution": _resolution(job)} if mni else {})
        write_json(job.mask_path(mni=mni).with_suffix("").with_suffix(".json"), mask)


def _write_harmonized(
    job: ScanJob,
    work: Mapping[str, Any],
    before: np.ndarray,
    mask: np.ndarray,
    statistics: dict[str, Any],
    common: Mapping[str, Any],
) -> None:
    import nibabel as nib

    from bids_mmh.evaluation.statistics import anatomy_change, image_statistics

    assert job.model is not None
    image = nib.Nifti1Image.from_filename(work["harmonized"])
    after = np.asarray(image.dataobj, dtype=np.float32)
    fields = dict(common) | {
        "IntensityScaling": {"Slope": STORED_SLOPE, "Intercept": STORED_INTERCEPT},
        "ImageStatistics": statistics | {"after": image_statistics(after[mask]).to_dict()},
        "AnatomyChange": anatomy_change(before, after, mask),
        "Model": {"Name": job.model.name, "SHA256": job.model.sha256, "Target": "unified", "Encoder": None},
        "Sampling": {
            "Depth": job.model.config.depth,
            "InversionSteps": job.model.config.inversion_steps,
            "SamplingSteps": job.model.config.sampling_steps,
        },
        "Device": work["device"],
        "ModelSeconds": work["seconds"],
    }
    target = job.path("harmonized", mni=True)
    _save(np.where(mask, to_stored(after), 0.0), image, target)
    source = bids_uri("", job.path("preproc", mni=True), job.settings.output_dir)
    content = sidecar(skull_stripped=True, sources=[source], resolution=_resolution(job), extra=fields)
    if "native" in job.settings.output_spaces:
        scaling = common["IntensityScaling"]
        _write_native(job, work, after - before, mask, (scaling["Slope"], scaling["Intercept"]), fields)
    # The template-space sidecar comes last: it is what says that the scan is done.
    write_json(job.path("harmonized", mni=True, extension=".json"), content)


def _write_native(
    job: ScanJob,
    work: Mapping[str, Any],
    change: np.ndarray,
    mask: np.ndarray,
    scaling: tuple[float, float],
    fields: Mapping[str, Any],
) -> None:
    """Add the model's change to the scan on its own voxels; outside the brain the image is 0."""
    import nibabel as nib

    from bids_mmh.preprocess.native import change_on_native_voxels

    native = nib.Nifti1Image.from_filename(work["native_preproc"])
    brain = np.asarray(nib.Nifti1Image.from_filename(work["native_mask"]).dataobj) > 0
    moved = change_on_native_voxels(
        change,
        mask,
        grid=model_grid(job.spacing),
        to_mni_xfm=Path(work["to_mni_xfm"]),
        native=Path(work["native_preproc"]),
    )
    scaled = np.asarray(native.dataobj, dtype=np.float32) * scaling[0] + scaling[1] + moved
    _save(np.where(brain, to_stored(scaled), 0.0), native, job.path("harmonized", mni=False))
    source = bids_uri("", job.path("preproc", mni=False), job.settings.output_dir)
    kept = ("Site", "Sequence", "ConfigurationHash", "GeneratedBy", "Model", "IntensityScaling")
    content = sidecar(
        skull_stripped=True,
        sources=[source, bids_uri("", job.path("harmonized", mni=True), job.settings.output_dir)],
        spatial_reference=bids_uri("raw", job.scan.path, job.settings.bids_dir),
        extra={key: fields[key] for key in kept},
    )
    write_json(job.path("harmonized", mni=False, extension=".json"), content)


def to_stored(scaled: np.ndarray) -> np.ndarray:
    """Scaled intensities as stored: −1 → 0, 1 → 1000; never below 0, which is background."""
    return np.maximum((scaled - STORED_INTERCEPT) / STORED_SLOPE, 0.0)


def _save(data: np.ndarray, like: Any, path: Path) -> None:  # noqa: ANN401
    import nibabel as nib

    header = like.header.copy()
    header.set_data_dtype(np.float32)
    with atomic_path(path) as temporary:
        nib.save(nib.Nifti1Image(data.astype(np.float32), like.affine, header), temporary)


def _resolution(job: ScanJob) -> str:
    return (
        f"{job.spacing:g} mm isotropic, the model's {'x'.join(map(str, model_grid(job.spacing).shape))} grid"
    )
