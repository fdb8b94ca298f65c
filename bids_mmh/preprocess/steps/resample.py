"""Resampling, with a single interpolation from the raw voxels to the model's grid."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.preprocess.grid import Grid
from bids_mmh.preprocess.images import image_like, read_nifti, to_array

if TYPE_CHECKING:
    import SimpleITK

MAX_KERNEL = 32  # voxels to each side
SPLINE_REACH = 12  # voxels: the weight of one on a cubic spline falls by 0.27 with each that lies between


@dataclass(frozen=True, eq=False)
class GridTemplate:
    """A template on the model's grid.

    Attributes:
        t1w: The T1w, float32.
        brain_mask: Its brain mask, uint8.
    """

    t1w: "SimpleITK.Image"
    brain_mask: "SimpleITK.Image"

    @cached_property
    def depth_mm(self) -> np.ndarray:
        """Distance of each voxel to the brain's surface in mm, negative inside, shape (x, y, z)."""
        import SimpleITK

        return to_array(
            SimpleITK.SignedMaurerDistanceMap(self.brain_mask, squaredDistance=False, useImageSpacing=True)
        )


def resample_scan(
    image: "SimpleITK.Image",
    reference: "SimpleITK.Image",
    transform: "SimpleITK.Transform",
    inside: "SimpleITK.Image | None" = None,
) -> "SimpleITK.Image":
    """Resample a scan with cubic B-splines, without overshoot, 0 outside its field of view.

    If the reference's voxels are larger than the scan's, the scan is smoothed first as the larger voxel
    would have averaged it, so that fine structure does not alias.

    Args:
        image: float32 scan.
        reference: Image whose geometry the result has.
        transform: From points of the reference to points of the scan; linear.
        inside: Mask on the voxels of the reference; the others are 0, and cost nothing. None for all.

    Returns:
        The resampled scan, float32.
    """
    import SimpleITK
    from scipy import ndimage

    wanted = SimpleITK.GetArrayFromImage(field_of_view(image, reference, transform)) > 0
    if inside is not None:
        wanted &= SimpleITK.GetArrayFromImage(inside) > 0
    smooth = SimpleITK.GetArrayFromImage(smooth_to(image, max(reference.GetSpacing())))
    # SimpleITK's B-spline gives the same values, but for every voxel of the reference.
    matrix = index_matrix(reference, image, transform)
    points = (matrix[:3, :3] @ np.argwhere(wanted).T[::-1] + matrix[:3, 3:])[::-1]
    low, high = _reach(points, smooth.shape)
    near = smooth[tuple(map(slice, low, high))]
    spline = ndimage.spline_filter(near, order=3, mode="mirror", output=np.float32)
    moved = points - low[:, None]
    values = ndimage.map_coordinates(spline, moved, order=3, mode="mirror", prefilter=False)
    # Splines overshoot beside sharp edges: an intensity that the scan never had is an artefact.
    data = SimpleITK.GetArrayFromImage(image)
    resampled = np.zeros(wanted.shape, np.float32)
    resampled[wanted] = np.clip(values, min(0.0, float(data.min())), float(data.max()))
    return image_like(resampled.T, reference)


def _reach(points: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Where the voxels begin and end, along each axis, that splines at some points (3, n) depend on."""
    if not points.size:
        return np.zeros(3, int), np.array(shape)
    low = np.floor(points.min(axis=1)).astype(int) - SPLINE_REACH
    high = np.ceil(points.max(axis=1)).astype(int) + SPLINE_REACH + 1
    return np.maximum(low, 0), np.minimum(high, shape)


def index_matrix(
    reference: "SimpleITK.Image", image: "SimpleITK.Image", transform: "SimpleITK.Transform"
) -> np.ndarray:
    """Compute where the voxels of a reference lie in an image.

    Args:
        reference: The one image.
        image: The other image.
        transform: From points of the reference to points of the image; linear.

    Returns:
        Homogeneous matrix, 4 x 4, from voxel indices (x, y, z) of the reference to those of the image.
    """
    from bids_mmh.preprocess.transforms import to_matrix

    return np.linalg.inv(_to_world(image)) @ to_matrix(transform) @ _to_world(reference)


def _to_world(image: "SimpleITK.Image") -> np.ndarray:
    """The 4 x 4 matrix from voxel indices to LPS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return matrix


def resample_mask(
    mask: "SimpleITK.Image", reference: "SimpleITK.Image", transform: "SimpleITK.Transform"
) -> "SimpleITK.Image":
    """Resample a mask linearly and threshold it at one half.

    Args:
        mask: uint8 mask.
        reference: Image whose geometry the result has.
        transform: From points of the reference to points of the mask.

    Returns:
        The resampled mask, uint8.
    """
    import SimpleITK

    moved = _linear(SimpleITK.Cast(mask > 0, SimpleITK.sitkFloat32), reference, transform)
    return SimpleITK.Cast(moved >= 0.5, SimpleITK.sitkUInt8)


def _linear(
    image: "SimpleITK.Image", reference: "SimpleITK.Image", transform: "SimpleITK.Transform"
) -> "SimpleITK.Image":
    """Resample a float32 image linearly, smoothed to the reference's voxels; 0 outside its field of view."""
    import SimpleITK

    fine = smooth_to(image, max(reference.GetSpacing()))
    return SimpleITK.Resample(fine, reference, transform, SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32)


def field_of_view(
    image: "SimpleITK.Image", reference: "SimpleITK.Image", transform: "SimpleITK.Transform"
) -> "SimpleITK.Image":
    """Compute which voxels of a reference lie inside a scan's field of view.

    Args:
        image: The scan.
        reference: Image whose geometry the result has.
        transform: From points of the reference to points of the scan.

    Returns:
        uint8 mask.
    """
    import SimpleITK

    ones = image_like(np.ones(image.GetSize(), dtype=np.uint8), image)
    return SimpleITK.Resample(
        ones, reference, transform, SimpleITK.sitkNearestNeighbor, 0, SimpleITK.sitkUInt8
    )


@lru_cache(maxsize=1)  # the same for all scans of a run
def template_on_grid(t1w: Path, brain_mask: Path, grid: Grid) -> GridTemplate:
    """Resample a template and its brain mask to the model's grid, once in a process.

    Linearly, which is cheap: nothing is computed from it but figures of quality and outlines.

    Args:
        t1w: NIfTI file of the template T1w.
        brain_mask: NIfTI file of its brain mask.
        grid: The model's grid.

    Returns:
        The template; its images are shared and must not be changed.
    """
    import SimpleITK

    reference, identity = grid.reference(), SimpleITK.Transform()
    image = _linear(read_nifti(t1w), reference, identity)
    return GridTemplate(image, resample_mask(read_nifti(brain_mask, np.uint8), reference, identity))


def apply_mask(image: "SimpleITK.Image", mask: "SimpleITK.Image") -> "SimpleITK.Image":
    """Set an image to 0 outside a mask.

    Args:
        image: The image.
        mask: Mask on the same voxels.

    Returns:
        A copy of the image.
    """
    return image_like(np.where(to_array(mask) > 0, to_array(image), np.float32(0)), image)


def smooth_to(image: "SimpleITK.Image", target_mm: float) -> "SimpleITK.Image":
    """Smooth an image along each axis to the resolution of larger voxels.

    Args:
        image: float32 image.
        target_mm: Voxel size in mm; Gaussian widths (FWHM) add in quadrature to it.

    Returns:
        The smoothed image on the same voxels; the image itself if its voxels are about as large.
    """
    import SimpleITK
    from scipy import ndimage

    fwhm = [np.sqrt(max(0.0, target_mm**2 - size**2)) for size in image.GetSpacing()]
    if max(fwhm) < 0.5 * target_mm:
        return image
    # SimpleITK's DiscreteGaussian gives the same values in three times the time.
    smooth = SimpleITK.GetArrayFromImage(image)
    for axis, (width, size) in enumerate(zip(fwhm, image.GetSpacing(), strict=True)):
        kernel = _gaussian_kernel((width / 2.355 / size) ** 2)
        smooth = ndimage.correlate1d(smooth, kernel, axis=2 - axis, mode="nearest")
    return image_like(smooth.T, image)


def _gaussian_kernel(variance: float, cut: float = 0.01) -> np.ndarray:
    """The discrete Gaussian (Lindeberg 1990), whose moments are right however narrow it is.

    Args:
        variance: In voxels².
        cut: Part of its weight that may be left out at both ends together.
    """
    from scipy.special import ive

    half = [float(ive(0, variance))]
    while half[0] + 2 * sum(half[1:]) < 1 - cut and len(half) < MAX_KERNEL:
        half.append(float(ive(len(half), variance)))
    kernel = np.array([*half[:0:-1], *half])
    return kernel / kernel.sum()


def isotropic(image: "SimpleITK.Image", size_mm: float) -> "SimpleITK.Image":
    """Smooth and resample an image linearly to isotropic voxels over the same field of view.

    Args:
        image: float32 image.
        size_mm: Voxel size in mm.

    Returns:
        The resampled image with the same axes.
    """
    import SimpleITK

    extent = np.asarray(image.GetSize()) * np.asarray(image.GetSpacing())
    shape = np.maximum(1, np.round(extent / size_mm)).astype(int)
    centre = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    direction = np.asarray(image.GetDirection()).reshape(3, 3)
    origin = np.asarray(centre) - direction @ ((shape - 1) / 2 * size_mm)
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetSize(shape.tolist())
    resampler.SetOutputSpacing([size_mm] * 3)
    resampler.SetOutputDirection(image.GetDirection())
    resampler.SetOutputOrigin(origin.tolist())
    resampler.SetInterpolator(SimpleITK.sitkLinear)
    return resampler.Execute(smooth_to(image, size_mm))
