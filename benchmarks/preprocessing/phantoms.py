"""Phantom sessions for ``preprocessing.py``: ordinary ones, and one for every known difficulty."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from outcome import voxels
from scipy import ndimage

from bids_mmh.phantom.head.anatomy import Lesion
from bids_mmh.phantom.head.subject import Subject, build_head, draw_subject
from bids_mmh.phantom.head.template_head import template_head
from bids_mmh.phantom.imaging.acquisition import Protocol, Site, draw_site
from bids_mmh.phantom.plan import Plan
from bids_mmh.phantom.session import Session, write_session

UNCHANGED = "as-it-is"
"""Name of the session whose file the difficulties that come after scanning change."""

Change = Callable[[nib.Nifti1Image, "Truth"], nib.Nifti1Image]


@dataclass(frozen=True)
class Truth:
    """What is true about one scan: the files beside it."""

    stem: Path
    suffix: str

    @property
    def brain(self) -> Path:
        """Brain mask."""
        return self._file(f"space-{self.suffix}_desc-brain_mask.nii.gz")

    @property
    def tissues(self) -> Path:
        """Tissue labels."""
        return self._file(f"space-{self.suffix}_dseg.nii.gz")

    @property
    def field(self) -> Path:
        """Receive field."""
        return self._file(f"desc-receivefield_{self.suffix}.nii.gz")

    @property
    def reference(self) -> Path:
        """The scan without noise and receive field."""
        return self._file(f"desc-reference_{self.suffix}.nii.gz")

    @property
    def from_template(self) -> Path:
        """ITK transform from the template's points to the scan's."""
        return self._file(f"from-{self.suffix}_to-MNI152NLin2009aSym_mode-image_xfm.txt")

    @property
    def shape(self) -> Path:
        """Displacement that follows on the way to the template: the head's own shape."""
        return self._file(f"from-{self.suffix}_to-MNI152NLin2009aSym_mode-image_desc-nonlinear_xfm.nii.gz")

    def _file(self, ending: str) -> Path:
        return self.stem.with_name(f"{self.stem.name}_{ending}")


@dataclass(frozen=True)
class Case:
    """One phantom session.

    Attributes:
        name: Without spaces; of its folder and its row.
        seed: Of person, site and scan.
        number: Of person and site.
        person: What is unusual about the person.
        site: What is unusual about the scanner.
        protocol: What is unusual about the T1w.
        change: What became of the T1w's file afterwards.
        sequences: Suffixes.
    """

    name: str
    seed: int
    number: int = 0
    person: Mapping[str, object] = field(default_factory=dict)
    site: Mapping[str, object] = field(default_factory=dict)
    protocol: Mapping[str, object] = field(default_factory=dict)
    change: Change | None = None
    sequences: tuple[str, ...] = ("T1w",)


def write_case(case: Case, root: Path) -> tuple[dict[str, Path], dict[str, Truth]]:
    """Make a session, unless it is there; return its scans and what is true about them, by suffix."""
    folder = root / case.name
    stem = Path("sub-phantom") / "anat" / "sub-phantom"
    scans = {s: folder / stem.with_name(f"{stem.name}_{s}.nii.gz") for s in case.sequences}
    truth = {s: Truth(folder / "derivatives" / "truth" / stem, s) for s in case.sequences}
    if (folder / "made").is_file():
        return scans, truth
    if case.change is None:
        _scan_phantom(case, folder, stem)
    else:
        plain, _ = write_case(replace(case, name=UNCHANGED, change=None), root)
        shutil.copytree(root / UNCHANGED, folder, dirs_exist_ok=True)
        image = nib.Nifti1Image.from_filename(plain["T1w"])
        changed = case.change(nib.Nifti1Image(voxels(plain["T1w"]), image.affine), truth["T1w"])
        changed.to_filename(scans["T1w"])
    (folder / "made").touch()
    return scans, truth


def _scan_phantom(case: Case, folder: Path, stem: Path) -> None:
    subject: Subject = replace(draw_subject(case.seed, case.number), **case.person)  # type: ignore[arg-type]
    head = build_head(template_head(), case.seed, case.number, subject)
    rng = np.random.default_rng([case.seed, 4, case.number, case.number])
    write_session(Session(folder, stem, head, _site(case)), _plan(case), rng)


def _plan(case: Case) -> Plan:
    return Plan(
        subjects=1,
        sites=1,
        travelling=0,
        visits=0,
        seed=case.seed,
        resolution=1.0,
        sequences=case.sequences,
        truth=True,
    )


def _site(case: Case) -> Site:
    site: Site = replace(draw_site(case.seed, case.number), **case.site)  # type: ignore[arg-type]
    t1w: Protocol = replace(site.protocols["T1w"], **case.protocol)  # type: ignore[arg-type]
    return replace(site, protocols={**site.protocols, "T1w": t1w})


def _with(image: nib.Nifti1Image, data: NDArray[np.generic]) -> nib.Nifti1Image:
    return nib.Nifti1Image(data, image.affine)


def stripped(image: nib.Nifti1Image, truth: Truth) -> nib.Nifti1Image:
    """Cut the brain out by its true mask."""
    return _with(image, image.get_fdata(dtype=np.float32) * (voxels(truth.brain) > 0))


def stripped_on_noise(image: nib.Nifti1Image, truth: Truth) -> nib.Nifti1Image:
    """Cut the brain out, then resample by half a voxel: the background rings."""
    data = ndimage.shift(stripped(image, truth).get_fdata(dtype=np.float32), 0.5, order=3)
    return _with(image, data)


def defaced(image: nib.Nifti1Image, truth: Truth) -> nib.Nifti1Image:
    """Remove everything in front of and below the brain, but no brain."""
    data = image.get_fdata(dtype=np.float32).copy()
    distance = ndimage.distance_transform_edt(voxels(truth.brain) == 0, sampling=image.header.get_zooms()[:3])
    to_mni = np.linalg.inv(_from_template(truth)) @ image.affine
    x, y, z = np.indices(data.shape, dtype=np.float32)
    front = sum(m * axis for m, axis in zip(to_mni[1], (x, y, z, 1.0), strict=True))
    up = sum(m * axis for m, axis in zip(to_mni[2], (x, y, z, 1.0), strict=True))
    data[(front > 20) & (up < 20) & (front - up > 30) & (distance > 6)] = 0
    return _with(image, data)


def _from_template(truth: Truth) -> NDArray[np.float64]:
    from measures import lps, template_to_scan

    return lps(template_to_scan(truth.from_template))


def shoulders(image: nib.Nifti1Image, _truth: Truth) -> nib.Nifti1Image:
    """Continue the neck downwards by 120 mm and let it grow into shoulders."""
    ras = nib.as_closest_canonical(image)
    data, size = ras.get_fdata(dtype=np.float32), ras.header.get_zooms()[2]
    start, extra = round(22 / size), round(120 / size)
    neck = data[:, :, start]
    mass = (neck * (neck > 0.3 * neck.max())).sum(axis=1)
    centre = float((mass * np.arange(len(mass))).sum() / mass.sum())
    below = []
    for k in range(extra + start):
        depth = (extra + start - k) * size
        width = 1 + 2.0 / (1 + np.exp(-(depth - 70) / 12))
        scale = [1 / width, 1 / (0.5 + 0.5 * width)]
        offset = [centre * (1 - scale[0]), neck.shape[1] / 2 * (1 - scale[1])]
        below.append(ndimage.affine_transform(neck, scale, offset, order=1))
    affine = ras.affine.copy()
    affine[:3, 3] -= affine[:3, 2] * extra
    whole = np.concatenate([np.stack(below, axis=2), data[:, :, start:]], axis=2)
    turn = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], nib.io_orientation(image.affine))
    return nib.Nifti1Image(whole, affine).as_reoriented(turn)


def mp2rage(image: nib.Nifti1Image, truth: Truth) -> nib.Nifti1Image:
    """The same head as an MP2RAGE: no receive field, 0 to 4095, and noise as bright as tissue outside it.

    The image is Re(S1* S2) / (|S1|^2 + |S2|^2) of two complex images (Marques et al., NeuroImage 2010).
    """
    rng = np.random.default_rng(0)
    reference = voxels(truth.reference)
    level = np.clip(0.8 * reference / np.percentile(reference, 99.5) - 0.4, -0.45, 0.45)
    second = reference / (reference + 0.02 * reference.max())
    safe = np.where(np.abs(level) < 1e-3, np.float32(1e-3), level)
    first = second * (1 - np.sqrt(1 - 4 * safe**2)) / (2 * safe)

    def noisy(signal: NDArray[np.float32]) -> NDArray[np.complex64]:
        noise = rng.standard_normal((2, *signal.shape), dtype=np.float32)
        return signal + np.float32(0.02) * (noise[0] + 1j * noise[1])

    a, b = noisy(first), noisy(second)
    uniform = (a.conj() * b).real / (np.abs(a) ** 2 + np.abs(b) ** 2)
    return _with(image, np.round(4095 * (uniform + 0.5)).astype(np.int16))


def not_finite(image: nib.Nifti1Image, truth: Truth) -> nib.Nifti1Image:
    """NaN in the background and in a few voxels of the brain, one infinity."""
    data = image.get_fdata(dtype=np.float32).copy()
    data[data < 0.02 * data.max()] = np.nan
    inside = np.argwhere(voxels(truth.brain) > 0)[::5000]
    data[tuple(inside.T)] = np.nan
    data[tuple(inside[0])] = np.inf
    return _with(image, data)


def spikes(image: nib.Nifti1Image, _truth: Truth) -> nib.Nifti1Image:
    """A few voxels ten thousand times as bright as the rest, float64, in units of 1e9."""
    data = 1e9 * image.get_fdata()
    data[tuple(np.random.default_rng(0).integers(5, np.array(data.shape) - 5, (40, 3)).T)] *= 1e4
    return _with(image, data)


def tiny_units(image: nib.Nifti1Image, _truth: Truth) -> nib.Nifti1Image:
    """float64, in units of 1e-9."""
    return _with(image, 1e-9 * image.get_fdata())


def negative(image: nib.Nifti1Image, truth: Truth) -> nib.Nifti1Image:
    """Shifted so that the background is -1024 and half of the brain below 0."""
    data = image.get_fdata(dtype=np.float32)
    inside = data[voxels(truth.brain) > 0]
    return _with(image, (data - np.median(inside)).astype(np.float32))


def scaled_uint16(image: nib.Nifti1Image, _truth: Truth) -> nib.Nifti1Image:
    """uint16 with scl_slope and scl_inter."""
    data = image.get_fdata(dtype=np.float32)
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint16)
    header.set_slope_inter(float(data.max()) / 60000, -5.0)
    return nib.Nifti1Image(data, image.affine, header)


def half_millimetre(image: nib.Nifti1Image, _truth: Truth) -> nib.Nifti1Image:
    """The scan as a scanner writes it that interpolates to voxels of 0.5 mm."""
    sizes = np.array(image.header.get_zooms()[:3])
    shape = np.round(np.array(image.shape) * sizes / 0.5).astype(int)
    pull = np.eye(4)
    pull[:3, :3] = np.diag(0.5 / sizes)
    data = image.get_fdata(dtype=np.float32)
    fine = ndimage.affine_transform(data, np.diag(pull)[:3], output_shape=tuple(shape), order=1)
    return nib.Nifti1Image(np.round(fine).astype(np.int16), image.affine @ pull)


def small_field_of_view(image: nib.Nifti1Image, _truth: Truth) -> nib.Nifti1Image:
    """The top of the brain is cut off by 35 mm."""
    ras = nib.as_closest_canonical(image)
    return ras.slicer[:, :, : ras.shape[2] - round(60 / ras.header.get_zooms()[2])]


def ordinary(seed: int, number: int) -> Case:
    """A T1w and a T2w of one person at one site."""
    return Case(f"seed{seed}site{number + 1}", seed, number, sequences=("T1w", "T2w"))


_SCLEROSIS = tuple(
    Lesion((side * x, y, z), r, 0.4)
    for side in (-1, 1)
    for x, y, z, r in ((22, 8, 22, 5), (26, -28, 26, 7), (20, -50, 20, 4), (30, 30, 8, 3.5), (18, -8, 34, 6))
)


def difficulties(seed: int) -> list[Case]:
    """One session for every known difficulty, each the same head but for it."""
    slices, codes = "protocol", "orientation"
    both = ("T1w", "T2w")
    return [
        Case(UNCHANGED, seed),
        Case("voxels-0.5mm", seed, change=half_millimetre),
        Case("axial-3mm", seed, **{slices: {"voxel": (0.9, 0.9, 3.0), codes: "LPS"}}),
        Case("axial-6mm", seed, **{slices: {"voxel": (0.9, 0.9, 6.0), codes: "LPS"}}),
        Case("sagittal-5mm", seed, **{slices: {"voxel": (5.0, 0.9, 0.9), codes: "PIR"}}),
        Case("coronal-4mm", seed, **{slices: {"voxel": (0.9, 4.0, 0.9), codes: "LIP"}}),
        Case("t2w-with-gaps", seed, 1, sequences=both),
        Case("oblique-30deg", seed, site={"obliquity": (25.0, -12.0, 14.0)}),
        Case("code-IPR", seed, protocol={codes: "IPR"}),
        Case("code-SAL", seed, protocol={codes: "SAL"}),
        Case("shoulders", seed, change=shoulders),
        Case("stripped", seed, change=stripped),
        Case("stripped-resampled", seed, change=stripped_on_noise),
        Case("defaced", seed, change=defaced),
        Case("uint16-scaled", seed, change=scaled_uint16),
        Case("units-1e-9", seed, change=tiny_units),
        Case("spikes-1e13", seed, change=spikes),
        Case("negative", seed, change=negative),
        Case("not-finite", seed, change=not_finite),
        Case("field-strong", seed, site={"bias": 0.6}),
        Case("noisy-1.5T", seed, 1, site={"field_strength": 1.5}, protocol={"noise": 0.15}),
        Case("mp2rage", seed, change=mp2rage),
        Case("child", seed, person={"size": 0.9, "atrophy": -1.0}),
        Case("atrophy", seed, person={"atrophy": 1.2, "ventricles": 8.0}),
        Case("lesions", seed, person={"lesions": _SCLEROSIS}),
        Case("stroke", seed, person={"lesions": (Lesion((-45, -10, 15), 26, 1.0),)}),
        Case("top-cut-off", seed, change=small_field_of_view),
    ]
