"""One interpolation from the raw voxels to the model's grid."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.preprocess.grid import Grid
from bids_mmh.preprocess.images import like, read_nifti, to_array

if TYPE_CHECKING:
    import SimpleITK


def resample_scan(
    image: "SimpleITK.Image", reference: "SimpleITK.Image", transform: "SimpleITK.Transform"
) -> "SimpleITK.Image":
    """Resample a scan with cubic B-splines, without new extremes, 0 outside its field of view.

    Where the reference's voxels are larger than the scan's, the scan is smoothed first as the larger voxel
    would have averaged it, so that fine structure does not alias.

    Args:
        image: float32 scan.
        reference: image whose geometry the result has.
        transform: from the reference's points to the scan's.
    """
    import SimpleITK

    smooth = smooth_to(image, max(reference.GetSpacing()))
    moved = SimpleITK.Resample(
        smooth, reference, transform, SimpleITK.sitkBSpline, 0.0, SimpleITK.sitkFloat32
    )
    data = to_array(image)
    # Splines overshoot beside sharp edges: an intensity that the scan never had is an artefact.
    return SimpleITK.Clamp(moved, SimpleITK.sitkFloat32, min(0.0, float(data.min())), float(data.max()))


def resample_mask(
    mask: "SimpleITK.Image", reference: "SimpleITK.Image", transform: "SimpleITK.Transform"
) -> "SimpleITK.Image":
    """Resample a uint8 mask linearly and cut at one half."""
    import SimpleITK

    fine = smooth_to(SimpleITK.Cast(mask > 0, SimpleITK.sitkFloat32), max(reference.GetSpacing()))
    moved = SimpleITK.Resample(fine, reference, transform, SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32)
    return SimpleITK.Cast(moved >= 0.5, SimpleITK.sitkUInt8)


def field_of_view(
    image: "SimpleITK.Image", reference: "SimpleITK.Image", transform: "SimpleITK.Transform"
) -> "SimpleITK.Image":
    """Return where the reference's voxels lie inside a scan's volume, as a uint8 mask."""
    import SimpleITK

    ones = like(np.ones(image.GetSize(), dtype=np.uint8), image)
    return SimpleITK.Resample(
        ones, reference, transform, SimpleITK.sitkNearestNeighbor, 0, SimpleITK.sitkUInt8
    )


def template_on_grid(t1w: Path, brain_mask: Path, grid: Grid) -> "tuple[SimpleITK.Image, SimpleITK.Image]":
    """Return a template and its uint8 brain mask on the model's grid."""
    import SimpleITK

    reference, unmoved = grid.reference(), SimpleITK.Transform()
    image = resample_scan(read_nifti(t1w), reference, unmoved)
    return image, resample_mask(read_nifti(brain_mask, np.uint8), reference, unmoved)


def apply_mask(image: "SimpleITK.Image", mask: "SimpleITK.Image") -> "SimpleITK.Image":
    """Return the image with 0 outside the mask."""
    return like(np.where(to_array(mask) > 0, to_array(image), np.float32(0)), image)


def smooth_to(image: "SimpleITK.Image", target_mm: float) -> "SimpleITK.Image":
    """Smooth an image along each axis as if its voxels were ``target_mm`` wide (FWHM in quadrature)."""
    import SimpleITK

    fwhm = [np.sqrt(max(0.0, target_mm**2 - size**2)) for size in image.GetSpacing()]
    if max(fwhm) < 0.5 * target_mm:
        return image
    variance = [(width / 2.355) ** 2 for width in fwhm]
    return SimpleITK.DiscreteGaussian(
        image, variance=variance, maximumKernelWidth=64, maximumError=0.01, useImageSpacing=True
    )


def isotropic(image: "SimpleITK.Image", size_mm: float) -> "SimpleITK.Image":
    """Resample a float32 image linearly to isotropic voxels over the same field of view, after smoothing."""
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
