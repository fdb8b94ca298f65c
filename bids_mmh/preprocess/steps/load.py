"""Reading and validation of raw scans, and writing of results on their voxels."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.preprocess.images import save_nifti, to_array, to_sitk

if TYPE_CHECKING:
    import nibabel as nib
    import SimpleITK

MIN_VOXELS = 8  # along an axis; fewer are a localizer or a single slice
MAX_VOXELS = 1_000_000_000  # 4 GB as float32; a head at a quarter of a millimetre has half as many
# The longest side of a field of view: shorter holds no head, longer comes from a wrong unit.
MIN_SIDE_MM, MAX_SIDE_MM = 50.0, 1000.0
_CHUNK = 1 << 20  # bytes that are read at once
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # by the code of a unit of length in NIfTI headers
_FLAT = 0.2  # volume that three axes of length 1 span: 1 where they are at right angles
# A voxel this many times further from the median than all but one in a thousand is no tissue.
SPIKE = 10.0


@dataclass(frozen=True)
class LoadedScan:
    """A validated scan.

    Attributes:
        image: float32 SimpleITK image with its axes reordered to the closest of RAS+; no interpolation.
        geometry: Shape, voxel sizes in mm, orientation codes, obliquity in degrees and data type as stored.
        warnings: Sentences on what is unusual about the file.
    """

    image: "SimpleITK.Image"
    geometry: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def load_scan(path: Path) -> LoadedScan:
    """Read a NIfTI file of any orientation, obliquity and data type.

    Scale factors of the header are applied, values that are not finite become 0, and outliers that are many
    times brighter or darker than all other voxels are clipped: one of them would dominate every histogram and
    cause ringing in the interpolation.

    Args:
        path: NIfTI file.

    Returns:
        The scan.

    Raises:
        NoInputError: If the file does not exist.
        BadDataError: If it is truncated, not a 3D volume, without voxel size, of a size that no head has,
            empty or constant.
    """
    import nibabel as nib

    nifti = _open(path)
    _check_shape(nifti, path)
    affine, warnings = world_affine(nifti, path)
    _check_size(nifti.shape, affine, path)
    data = _volume(nifti, path)
    bad = ~np.isfinite(data)
    if bad.all():
        raise BadDataError(f"{path} holds no finite value: convert it from the original images again.")
    if bad.any():
        warnings.append(f"{int(bad.sum())} voxels were not finite and were set to 0.")
        data = np.where(bad, np.float32(0), data)
    if data.min() == data.max():
        raise BadDataError(
            f"{path} has the same value {data.min():g} in every voxel: convert the original images again."
        )
    data, cut = _without_spikes(data)
    if cut:
        warnings.append(f"{cut} voxels were far brighter or darker than all others and were cut.")
    orientation = nib.io_orientation(affine)
    ras = nib.apply_orientation(data, orientation)
    ras_affine = affine @ nib.orientations.inv_ornt_aff(orientation, data.shape)
    return LoadedScan(to_sitk(ras, ras_affine), _geometry(nifti, affine), warnings)


def save_on_input_voxels(image: "SimpleITK.Image", raw_file: Path, out_file: Path) -> Path:
    """Write a RAS working image with the shape, axes and header geometry of a raw scan.

    The result is NIfTI-1 in millimetres, whatever the raw scan is.

    Args:
        image: Image on the voxels that :func:`load_scan` returns for ``raw_file``.
        raw_file: The raw scan.
        out_file: NIfTI file to write; its data type is the image's.

    Returns:
        The path written.
    """
    import nibabel as nib

    raw = _open(raw_file)
    affine, _ = world_affine(raw, raw_file)
    to_input = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.io_orientation(affine)
    )
    data = np.asfortranarray(nib.apply_orientation(to_array(image), to_input))  # the order in a file
    header = raw.header.copy()
    header.extensions.clear()  # they may hold identifying information
    header.set_data_dtype(data.dtype)
    header["cal_min"] = header["cal_max"] = 0
    return save_nifti(nib.Nifti1Image(data, raw.affine, header), out_file)


def world_affine(nifti: "nib.Nifti1Image", path: Path) -> tuple[np.ndarray, list[str]]:
    """Compute the affine of an image, free of shear, with warnings about it.

    The sform is used if it has a code, else the qform, else the voxel sizes only.

    Args:
        nifti: The image.
        path: Its file, for the messages.

    Returns:
        The 4 x 4 matrix from voxel indices to RAS+ mm, and sentences about the header.

    Raises:
        BadDataError: If a voxel has no size, or the matrix is not finite.
    """
    affine = np.array(nifti.affine, dtype=float)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (sizes < 1e-3).any() or _raw_sizes_missing(nifti, path):
        raise BadDataError(
            f"{path} has a voxel size of zero or an unreadable position in its header: convert it again."
        )
    warnings = _form_warnings(nifti)
    axes = affine[:3, :3] / sizes
    if abs(np.linalg.det(axes)) < _FLAT:
        raise BadDataError(f"{path} has a header whose axes lie in one plane: convert it again.")
    u, _, vt = np.linalg.svd(axes)
    if np.abs(u @ vt - axes).max() > 1e-4:
        if np.abs(u @ vt - axes).max() > 1e-2:
            warnings.append(
                "The header's matrix has shear, which was removed: distances may be a little off."
            )
        centre = (np.asarray(nifti.shape[:3]) - 1) / 2
        middle = affine[:3, :3] @ centre + affine[:3, 3]
        affine[:3, :3] = (u @ vt) * sizes
        affine[:3, 3] = middle - affine[:3, :3] @ centre
    return affine, warnings


def _open(path: Path) -> "nib.Nifti1Image":
    """Open a NIfTI file as NIfTI-1 in millimetres, the data not yet read."""
    import nibabel as nib

    if not path.is_file():
        raise _missing(path)
    try:
        image = nib.load(path)
        if isinstance(image, nib.Nifti1Image):
            return nifti1_in_mm(image)
    except PermissionError as error:
        raise NoInputError(f"{path} cannot be opened: change its permissions.") from error
    except MemoryError:
        raise
    except Exception as error:  # whatever nibabel says, it is about the file
        raise BadDataError(f"{path} is not a readable NIfTI file: copy or convert it again.") from error
    raise BadDataError(f"{path} is not a NIfTI file: convert it to .nii.gz.")


def _missing(path: Path) -> NoInputError:
    if path.is_symlink():
        return NoInputError(
            f"{path} is a link to content that is not here: fetch it (with 'datalad get {path.name}')."
        )
    return NoInputError(f"{path} does not exist or cannot be read: check the dataset (or fetch the file).")


def nifti1_in_mm(image: "nib.Nifti1Image") -> "nib.Nifti1Image":
    """Convert an image to NIfTI-1 with its geometry in millimetres; the data are not read.

    Args:
        image: NIfTI-1 or NIfTI-2 image with any unit of length.

    Returns:
        The converted image; the image itself if there is nothing to convert.
    """
    import nibabel as nib

    # An unknown unit is millimetres, which nearly every program means.
    millimetres = _MILLIMETRES.get(int(image.header["xyzt_units"]) & 7, 1.0)
    if millimetres == 1.0 and not isinstance(image, nib.Nifti2Image):
        return image
    header = nib.Nifti1Header()
    for name in set(header.keys()) - {"sizeof_hdr", "magic", "vox_offset", "scl_slope", "scl_inter"}:
        if name in image.header:
            header[name] = image.header[name]
    header["pixdim"][1:4] *= millimetres
    for name in ("srow_x", "srow_y", "srow_z", "qoffset_x", "qoffset_y", "qoffset_z"):
        header[name] = header[name] * millimetres
    header.set_xyzt_units("mm")
    return nib.Nifti1Image(image.dataobj, header.get_best_affine(), header)


def _check_shape(nifti: "nib.Nifti1Image", path: Path) -> None:
    shape = nifti.shape
    if len(shape) < 3 or min(shape[:3]) < MIN_VOXELS or any(n != 1 for n in shape[3:]):
        raise BadDataError(
            f"{path} has the shape {'x'.join(map(str, shape))}: give one three-dimensional volume with at "
            f"least {MIN_VOXELS} voxels along each axis."
        )
    if math.prod(shape) > MAX_VOXELS:
        raise BadDataError(
            f"{path} has {'x'.join(map(str, shape))} voxels by its header, more than any scan of a head: "
            "convert it again."
        )
    if nifti.get_data_dtype().kind not in "iufb":
        raise BadDataError(f"{path} holds colours or complex numbers: give the magnitude image.")


def _check_size(shape: Sequence[int], affine: np.ndarray, path: Path) -> None:
    """Refuse a field of view that is too small for a head, or too large."""
    longest = float((np.linalg.norm(affine[:3, :3], axis=0) * shape[:3]).max())
    if not MIN_SIDE_MM <= longest <= MAX_SIDE_MM:
        raise BadDataError(
            f"{path} is {longest:.3g} mm long by its header, which no scan of a head is: correct its voxel "
            "sizes, or their unit (xyzt_units)."
        )


def _volume(nifti: "nib.Nifti1Image", path: Path) -> np.ndarray:
    try:
        _check_gzip(path)
        with np.errstate(over="ignore"):  # values beyond float32 become infinite: load_scan warns
            return np.asanyarray(nifti.dataobj).reshape(nifti.shape[:3]).astype(np.float32)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise BadDataError(f"{path} is truncated or damaged: copy or convert it again.") from error


def _check_gzip(path: Path) -> None:
    """Read a gzip file to its end, where its checksum is: nibabel stops at the last voxel.

    Raises:
        OSError, EOFError: it is cut off, or a byte of it has changed.
    """
    from isal import igzip

    if path.suffix != ".gz":
        return
    left = MAX_VOXELS * 8
    with igzip.open(path) as stream:
        while left > 0 and (part := stream.read(_CHUNK)):
            left -= len(part)


def _without_spikes(data: np.ndarray) -> tuple[np.ndarray, int]:
    """Clip values that are far from all others; return the data and the number of clipped voxels."""
    sample = data[::2, ::2, ::2].astype(np.float64)
    centre = float(np.median(sample))
    reach = SPIKE * float(np.percentile(np.abs(sample - centre), 99.9))
    low, high = np.float32(centre - reach), np.float32(centre + reach)
    count = int(((data < low) | (data > high)).sum()) if reach > 0 else 0
    return (np.clip(data, low, high), count) if count else (data, 0)


def _raw_sizes_missing(nifti: "nib.Nifti1Image", path: Path) -> bool:
    # nibabel silently turns a voxel size of 0 into 1 mm: read the bytes of the file.
    import nibabel as nib

    if int(nifti.header["sform_code"]) > 0:
        return False
    with nib.openers.ImageOpener(str(path)) as stream:
        header_class: Any = type(nib.load(path).header)
        header = header_class.from_fileobj(stream, check=False)
    sizes = np.asarray(header["pixdim"][1:4], dtype=float)
    return bool((~np.isfinite(sizes) | (sizes == 0)).any())


def _form_warnings(nifti: "nib.Nifti1Image") -> list[str]:
    from nibabel.spatialimages import HeaderDataError

    sform, s_code = nifti.get_sform(coded=True)
    try:
        qform, q_code = nifti.get_qform(coded=True)
    except (ValueError, HeaderDataError):  # no rotation; where the image relies on it, it was not opened
        return ["The header's qform cannot be read: the sform was used."]
    if not s_code and not q_code:
        return ["The header gives neither sform nor qform: left and right were taken from the storage order."]
    if s_code and q_code:
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in nifti.shape[:3]])).reshape(3, -1)
        apart = (sform - qform)[:3, :3] @ corners + (sform - qform)[:3, 3:]
        if np.linalg.norm(apart, axis=0).max() > 1.0:
            return ["Sform and qform disagree by more than 1 mm: the sform was used."]
    return []


def _geometry(nifti: "nib.Nifti1Image", affine: np.ndarray) -> dict[str, Any]:
    import nibabel as nib

    return {
        "shape": [int(n) for n in nifti.shape],
        "voxel_mm": [round(float(z), 4) for z in np.linalg.norm(affine[:3, :3], axis=0)],
        "orientation": "".join(nib.aff2axcodes(affine)),
        "obliquity_deg": round(float(np.rad2deg(nib.affines.obliquity(affine)).max()), 2),
        "data_type": str(nifti.get_data_dtype()),
        "sform_code": int(nifti.header["sform_code"]),
        "qform_code": int(nifti.header["qform_code"]),
    }
