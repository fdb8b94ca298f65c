"""Resampling, with a single interpolation from the raw voxels to the model's grid."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.preprocess.grid import Grid
from bids_mmh.preprocess.images import image_like, read_nifti, to_array

if TYPE_CHECKING:
    import SimpleITK


def resample_scan(
    image: "SimpleITK.Image", reference: "SimpleITK.Image", transform: "SimpleITK.Transform"
) -> "SimpleITK.Image":
    """Resample a scan with cubic B-splines, without overshoot, 0 outside its field of view.

    If the reference's voxels are larger than the scan's, the scan is smoothed first as the larger voxel
    would have averaged it, so that fine structure does not alias.

    Args:
        image: float32 scan.
        reference: Image whose geometry the result has.
        transform: From points of the reference to points of the scan.

    Returns:
        The resampled scan, float32.
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
    """Resample a mask linearly and threshold it at one half.

    Args:
        mask: uint8 mask.
        reference: Image whose geometry the result has.
        transform: From points of the reference to points of the mask.

    Returns:
        The resampled mask, uint8.
    """
    import SimpleITK

    fine = smooth_to(SimpleITK.Cast(mask > 0, SimpleITK.sitkFloat32), max(reference.GetSpacing()))
    moved = SimpleITK.Resample(fine, reference, transform, SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32)
    return SimpleITK.Cast(moved >= 0.5, SimpleITK.sitkUInt8)


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


def template_on_grid(t1w: Path, brain_mask: Path, grid: Grid) -> "tuple[SimpleITK.Image, SimpleITK.Image]":
    """Resample a template and its brain mask to the model's grid.

    Args:
        t1w: NIfTI file of the template T1w.
        brain_mask: NIfTI file of its brain mask.
        grid: The model's grid.

    Returns:
        The template, float32, and its mask, uint8.
    """
    import SimpleITK

    reference, identity = grid.reference(), SimpleITK.Transform()
    image = resample_scan(read_nifti(t1w), reference, identity)
    return image, resample_mask(read_nifti(brain_mask, np.uint8), reference, identity)


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

    fwhm = [np.sqrt(max(0.0, target_mm**2 - size**2)) for size in image.GetSpacing()]
    if max(fwhm) < 0.5 * target_mm:
        return image
    variance = [(width / 2.355) ** 2 for width in fwhm]
    return SimpleITK.DiscreteGaussian(
        image, variance=variance, maximumKernelWidth=64, maximumError=0.01, useImageSpacing=True
    )


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
