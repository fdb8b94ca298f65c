"""Travelling subjects for ``preprocessing.py travel``: whole heads at several scanners, with true transforms.

The signals come from the training generator (:mod:`bids_mmh.synthesis`: random protocols, relaxation times
with the spread between subjects); the anatomy is a label map of a head with its skin, fat, bone and eyes
(``labels/*_dseg.nii.gz``, see ``anatomies.py``), because what surrounds a brain is what misleads an
alignment.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_mmh.files import atomic_path
from bids_mmh.phantom.head.grid import smooth_noise
from bids_mmh.preprocess.images import save_nifti, to_array, to_sitk
from bids_mmh.preprocess.transforms import from_matrix
from bids_mmh.synthesis.heads import Head
from bids_mmh.synthesis.regions import FREESURFER, Region
from bids_mmh.synthesis.scanner import Scanner, draw_scanner
from bids_mmh.synthesis.surround import head_signals

Matrix = NDArray[np.float64]
PARTIAL_VOLUME_MM = 0.6
MOVE_MM, TURN_DEG = 10.0, 10.0  # between the two scans of a session
LOST_MM, LOST_DEG = 120.0, 15.0  # where the header of the second scan says nothing
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS to LPS


@dataclass(frozen=True)
class Kind:
    """What a scanner does to both scans of a session.

    Attributes:
        name: for tables.
        t1w: voxel size of the T1w, right, front, up, in mm.
        t2w: of the T2w.
        oblique_deg: tilt of both scans.
        height_mm: field of view of the T2w from bottom to top.
        fat_saturated: whether the T2w is.
        lost: whether the two headers share nothing.
        fluid_suppressed: whether the T2w is: a FLAIR.
        size: of the head, relative to an adult's.
        noise: relative to white matter.
        field: standard deviation of the logarithm of the receive field, about.
    """

    name: str
    t1w: tuple[float, float, float] = (1.0, 1.0, 1.0)
    t2w: tuple[float, float, float] = (1.0, 1.0, 1.0)
    oblique_deg: float = 0.0
    height_mm: float = 216.0
    fat_saturated: bool = False
    lost: bool = False
    fluid_suppressed: bool = False
    size: float = 1.0
    noise: float = 0.03
    field: float = 0.15


KINDS = (
    Kind("3D, 1 mm"),
    Kind("sagittal T1w, T2w 2 mm", (1.2, 0.94, 0.94), (0.9, 0.9, 2.0), oblique_deg=4),
    Kind("oblique, fat-saturated 3 mm", (0.9,) * 3, (0.9, 0.9, 3.0), 9, 168, fat_saturated=True, field=0.25),
    Kind("2D both, noisy", (0.95, 0.95, 3.0), (0.9, 0.9, 4.0), 6, 184, noise=0.06),
    Kind("3D, fat-saturated, headers lost", fat_saturated=True, lost=True, field=0.3),
    Kind("coronal T2w 3 mm, headers lost", (1.0,) * 3, (0.95, 3.0, 0.95), 5, lost=True, noise=0.05),
    Kind("FLAIR of 3 mm slices", t2w=(0.9, 0.9, 3.0), oblique_deg=5, fluid_suppressed=True),
    Kind("child: .8 of an adult's size", size=0.8),
)


def random_kind(rng: np.random.Generator) -> Kind:
    """Draw what scanners do: slices in any direction, fat saturation, tilts, headers that are lost."""
    voxel: dict[str, tuple[float, float, float]] = {}
    for suffix, sliced in (("T1w", 0.25), ("T2w", 0.6)):
        sizes = np.full(3, rng.uniform(0.8, 1.2))
        if rng.uniform() < sliced:
            sizes[rng.choice(3, p=(0.15, 0.15, 0.7))] = rng.uniform(2.0, 4.0)
        voxel[suffix] = (sizes[0], sizes[1], sizes[2])
    return Kind(
        "random",
        voxel["T1w"],
        voxel["T2w"],
        oblique_deg=rng.uniform(0, 12),
        height_mm=rng.uniform(150, 220),
        fat_saturated=rng.uniform() < 0.4,
        lost=rng.uniform() < 0.25,
        fluid_suppressed=rng.uniform() < 0.15,
        size=rng.uniform(0.8, 1.05),
        noise=rng.uniform(0.02, 0.06),
        field=rng.uniform(0.05, 0.3),
    )


@dataclass(frozen=True)
class Traveller:
    """One head at one scanner.

    Attributes:
        head: name of the label map.
        scanner: number of the scanner.
        kind: of the scanner.
        scans: file of each suffix.
        poses: 4 x 4 from the head's own mm to the mm of each scan, RAS.
        brain: points of the brain in the head's own mm, (4, n) homogeneous RAS.
    """

    head: str
    scanner: int
    kind: Kind
    scans: Mapping[str, Path]
    poses: Mapping[str, Matrix]
    brain: Matrix

    def brain_mask(self, suffix: str) -> SimpleITK.Image:
        """The brain on the voxels of a scan."""
        return SimpleITK.ReadImage(str(self.scans[suffix].with_name(f"{suffix}_brain.nrrd")))

    def tissues(self, suffix: str) -> SimpleITK.Image:
        """1 in pure grey and 2 in pure white matter on the voxels of a scan."""
        return SimpleITK.ReadImage(str(self.scans[suffix].with_name(f"{suffix}_tissues.nrrd")))

    def field(self, suffix: str) -> SimpleITK.Image:
        """The receive field, a factor, on the voxels of a scan."""
        return SimpleITK.ReadImage(str(self.scans[suffix].with_name(f"{suffix}_field.nrrd")))


def travel(head: Head, scanner: int, seed: int, folder: Path, kind: Kind | None = None) -> Traveller:
    """Scan a head at a scanner, by default of one of ``KINDS``; what is in ``folder`` is not made again."""
    kind = kind or KINDS[scanner % len(KINDS)]
    where = folder / f"{head.name}_scanner{scanner}"
    scans = {suffix: where / f"{suffix}.nii.gz" for suffix in ("T1w", "T2w")}
    rng = np.random.default_rng([seed, int(head.name[-2:]), scanner])
    brain = head.brain()
    inside = np.argwhere(brain)[::499]
    centre = head.affine[:3, :3] @ inside.mean(0) + head.affine[:3, 3]
    poses = _poses(kind, centre, rng)
    for number, suffix in enumerate(scans):
        if not scans[suffix].is_file():
            machine = draw_scanner(suffix, torch.Generator().manual_seed(1000 * seed + 10 * scanner + number))
            grid = _grid(kind, suffix, poses[suffix], centre)
            _scan(head, kind, machine, grid, scans[suffix], rng=rng)
    points = head.affine @ np.c_[inside, np.ones(len(inside))].T
    return Traveller(head.name, scanner, kind, scans, poses, points)


def _poses(kind: Kind, centre: NDArray[np.float64], rng: np.random.Generator) -> dict[str, Matrix]:
    """The head in the magnet, and moved between the scans; a header that is lost moves the world too."""
    first = _rigid(rng, 8.0, 8.0, centre)
    first[:3] = first[:3] @ _about(centre, kind.size)
    second = _rigid(rng, TURN_DEG, MOVE_MM, centre) @ first
    if kind.lost:
        second = _rigid(rng, LOST_DEG, LOST_MM, centre) @ second
    return {"T1w": first, "T2w": second}


def _rigid(rng: np.random.Generator, turn_deg: float, move_mm: float, centre: Matrix) -> Matrix:
    """A rotation and a translation of random directions, of at most these sizes."""
    turn, move = rng.normal(size=(2, 3))
    turn *= np.deg2rad(turn_deg) * rng.uniform() / np.linalg.norm(turn)
    move *= move_mm * rng.uniform() / np.linalg.norm(move)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + move
    return matrix


def _about(centre: NDArray[np.float64], size: float) -> Matrix:
    """A change of size that leaves the centre in its place."""
    matrix = np.diag([size, size, size, 1.0])
    matrix[:3, 3] = (1 - size) * centre
    return matrix


@dataclass(frozen=True)
class Grid:
    """Voxels of a scan: sizes in mm, shape, affine (RAS), and the pose of the head in the scanner."""

    voxel: NDArray[np.float64]
    shape: tuple[int, ...]
    affine: Matrix
    pose: Matrix


def _scan(
    head: Head, kind: Kind, machine: Scanner, grid: Grid, out: Path, *, rng: np.random.Generator
) -> None:
    suffix, shape, affine = machine.sequence, grid.shape, grid.affine
    values = _acquire(head, _signal(head, kind, machine), grid)
    log_field = smooth_noise(rng, shape, max(shape)) + _radial(shape)
    field = np.exp(kind.field * (log_field - log_field.mean()))
    noise = kind.noise * rng.standard_normal((2, *shape), dtype=np.float32)
    image = 1000 * np.hypot(values * field + noise[0], noise[1])
    tissues = np.zeros(shape, np.uint8)
    for number, regions in ((1, (Region.CORTEX,)), (2, (Region.WHITE,))):
        pure = np.isin(head.labels, [n for n, r in FREESURFER.items() if r in regions]).astype(np.float32)
        tissues[_acquire(head, pure, grid) > 0.95] = number
    brain = (_acquire(head, head.brain().astype(np.float32), grid) > 0.5).astype(np.uint8)
    for name, voxels in (("tissues", tissues), ("brain", brain), ("field", field.astype(np.float32))):
        with atomic_path(out.with_name(f"{suffix}_{name}.nrrd")) as temporary:
            SimpleITK.WriteImage(to_sitk(voxels, affine), str(temporary), useCompression=True)
    save_nifti(nib.Nifti1Image(image.astype(np.int16), affine), out)


def _grid(kind: Kind, suffix: str, pose: Matrix, centre: NDArray[np.float64]) -> Grid:
    """Slices tilted about the left-right axis; the operator centres them on the brain."""
    voxel = np.array(kind.t1w if suffix == "T1w" else kind.t2w)
    extent = np.array([190.0, 236.0, kind.height_mm if suffix == "T2w" else 230.0])
    shape = tuple(np.round(extent / voxel).astype(int).tolist())
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("x", kind.oblique_deg, degrees=True).as_matrix() @ np.diag(voxel)
    target = (pose @ np.append(centre, 1.0))[:3]
    if extent[2] > 190:  # a part of the face and the neck is in the scan
        target = target - affine[:3, :3] @ (np.array([0.0, -8.0, 22.0]) / voxel)
    affine[:3, 3] = target - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(voxel, shape, affine, pose)


def _signal(head: Head, kind: Kind, machine: Scanner) -> NDArray[np.float32]:
    """Signal of every voxel of a head, 1 in white matter; the subject is the same at every scanner."""
    subject = int(head.name[-2:])
    saturated = kind.fat_saturated and machine.sequence == "T2w"
    table = head_signals(machine, torch.Generator().manual_seed(subject), fat_saturated=saturated).numpy()
    if kind.fluid_suppressed and machine.sequence == "T2w":
        fluid = (Region.CSF, Region.VENTRICLE)
        table[[number for number, region in FREESURFER.items() if region in fluid]] *= 0.1
    texture = smooth_noise(np.random.default_rng(subject), head.labels.shape, 12.0)
    values = table[head.labels] * (1 + np.float32(0.03) * texture)
    return ndimage.gaussian_filter(values, PARTIAL_VOLUME_MM)


def _acquire(head: Head, values: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Sample a map of the head on the voxels of a scan; a thick slice is the mean of thin ones."""
    thin = np.maximum(1, np.round(grid.voxel / 1.2)).astype(int)
    fine = grid.affine @ np.diag([*(1 / thin), 1.0])
    fine[:3, 3] = grid.affine[:3, 3] + grid.affine[:3, :3] @ ((1 / thin - 1) / 2)
    reference = to_sitk(np.zeros(np.array(grid.shape) * thin, np.uint8), fine)
    to_head = from_matrix(_FLIP @ np.linalg.inv(grid.pose) @ _FLIP)
    moved = SimpleITK.Resample(
        to_sitk(values, head.affine), reference, to_head, SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32
    )
    array = to_array(moved).reshape([n for pair in zip(grid.shape, thin, strict=True) for n in pair])
    return array.mean(axis=(1, 3, 5))


def _radial(shape: tuple[int, ...]) -> NDArray[np.float32]:
    x, y, z = np.ix_(*(np.linspace(-1, 1, n, dtype=np.float32) ** 2 for n in shape))
    return 0.8 * (1 - x - y - z)
