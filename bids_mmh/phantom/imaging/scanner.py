"""The scanner: from a head and a site to an image with its ground truth."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bids_mmh.phantom.head.anatomy import Anatomy
from bids_mmh.phantom.head.deformation import Matrix, rigid, template_voxels
from bids_mmh.phantom.head.grid import HEAD, Float, smooth_noise
from bids_mmh.phantom.head.subject import Head
from bids_mmh.phantom.imaging.acquisition import Protocol, Site
from bids_mmh.phantom.imaging.relaxation import Tissue, relaxation
from bids_mmh.phantom.imaging.signals import sensitivity

Number = TypeVar("Number", bound=np.generic)

FIELD_OF_VIEW = (176.0, 236.0, 204.0)
"""Right-left, posterior-anterior, inferior-superior in mm."""

_CENTRE = (0.0, -8.0, -2.0)


@dataclass(frozen=True)
class Geometry:
    """Geometry of a scan.

    Attributes:
        shape: Number of voxels along right, anterior, superior.
        size: Voxel size along right, anterior, superior in mm.
        orientation: Axis codes of the file.
        affine: Voxel indices to scanner coordinates (RAS, mm), 4 x 4.
        to_template: Scanner mm to template mm, nine degrees of freedom, 4 x 4.
        voxels: Position of each voxel on the head grid, ``(3, *shape)``.
    """

    shape: tuple[int, int, int]
    size: tuple[float, float, float]
    orientation: str
    affine: Matrix
    to_template: Matrix
    voxels: Float


def place(head: Head, site: Site, protocol: Protocol, pose: Matrix, resolution: float) -> Geometry:
    """Place a head in the scanner.

    Args:
        head: The head.
        site: Its obliquity tilts the slices.
        protocol: Its voxel size counts.
        pose: Rigid transform from scanner mm to the head's own mm, 4 x 4.
        resolution: Factor on the voxel size.

    Returns:
        The geometry of the scan.
    """
    sx, sy, sz = (extent * resolution for extent in protocol.voxel)
    shape = tuple(round(extent / s) for extent, s in zip(FIELD_OF_VIEW, (sx, sy, sz), strict=True))
    nx, ny, nz = shape
    affine = rigid(np.asarray(site.obliquity), np.zeros(3)) @ np.diag([sx, sy, sz, 1.0])
    affine[:3, 3] = np.asarray(_CENTRE) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    to_template = head.to_template @ pose
    return Geometry(
        shape=(nx, ny, nz),
        size=(sx, sy, sz),
        orientation=protocol.orientation,
        affine=affine,
        to_template=to_template,
        voxels=template_voxels((nx, ny, nz), to_template @ affine, head.displacement),
    )


def magnetisation(anatomy: Anatomy, protocol: Protocol, field_strength: float) -> Float:
    """Compute the noise-free signal of a head.

    Args:
        anatomy: Tissues of the head.
        protocol: Pulse sequence, and intensity of white matter.
        field_strength: 1.5 or 3.0 (tesla).

    Returns:
        Signal on the head grid, scaled so that white matter has the protocol's intensity.
    """
    properties = [relaxation(tissue, field_strength) for tissue in Tissue]
    signals = np.array([protocol.sequence.signal(p) for p in properties], np.float32)
    slopes = np.array([sensitivity(protocol.sequence, p) for p in properties], np.float32)
    gain = np.float32(protocol.brightness) / signals[Tissue.WHITE_MATTER]
    level, slope = gain * (np.stack([signals, slopes]) @ anatomy.fractions)
    out = np.zeros(HEAD.shape, np.float32)
    out.ravel()[anatomy.voxels] = np.maximum(level + anatomy.texture * slope, 0)
    return out * _neck_fade()


def _neck_fade() -> Float:
    """Coil sensitivity along z on the head grid: as in a head coil, it ends at the neck, inside the grid."""
    _, _, z = HEAD.axes()
    ramp: Float = np.clip((z - np.float32(HEAD.origin[2] + 4)) / np.float32(26), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def sample(values: NDArray[Number], geometry: Geometry, order: int = 1) -> NDArray[Number]:
    """Resample a map from the head grid to the voxels of a scan.

    Args:
        values: Map on the head grid.
        geometry: Geometry of the scan.
        order: 1 for linear interpolation; 0 for the nearest neighbour, for labels.

    Returns:
        Map of the scan's shape; 0 outside the head grid.
    """
    from scipy.ndimage import map_coordinates

    out: NDArray[Number] = map_coordinates(values, geometry.voxels, order=order, mode="constant", cval=0)
    return out


def blurred(values: Float, blur: float, size: tuple[float, float, float]) -> Float:
    """Apply the Gaussian point-spread function of a scan on the head grid.

    Heads are rotated by a few degrees only, so that the axes of a scan are the nearest axes of the head grid.

    Args:
        values: Map on the head grid.
        blur: Standard deviation in voxels of the scan.
        size: Voxel size of the scan in mm.

    Returns:
        The blurred map on the head grid.
    """
    from scipy.ndimage import gaussian_filter1d

    for axis, extent in enumerate(size):
        # The head grid and the linear interpolation blur by about 0.3 mm already.
        sigma = np.sqrt(max(0.0, (blur * extent) ** 2 - 0.3**2)) / HEAD.spacing
        if sigma > 0.1:
            values = gaussian_filter1d(values, sigma, axis=axis, truncate=3)
    return values


def receive_field(site: Site, shape: tuple[int, int, int], rng: np.random.Generator) -> Float:
    """Draw the smooth multiplicative receive field of a site's coil, which varies a little between sessions.

    Args:
        site: The scanner.
        shape: Shape of the scan.
        rng: Random generator of the session.

    Returns:
        The field, about 1, of the given shape.
    """
    own = smooth_noise(np.random.default_rng(site.bias_seed), shape, max(shape))
    session = smooth_noise(rng, shape, max(shape))
    axes = (np.linspace(-1, 1, n, dtype=np.float32) ** 2 for n in shape)
    x, y, z = np.ix_(*axes)
    # Phased arrays are bright outside, high fields bright inside.
    centre = (0.6 if site.field_strength < 2 else -0.6) * (x + y + z - 1)
    return np.exp(np.float32(site.bias) * (0.75 * own + 0.25 * session + centre))


def add_noise(values: Float, sigma: float, rng: np.random.Generator) -> Float:
    """Add complex Gaussian noise to a signal and take the magnitude: Rician noise.

    Args:
        values: Noise-free signal, any shape.
        sigma: Standard deviation of either component, in the unit of the signal.
        rng: Random generator.

    Returns:
        Non-negative magnitudes, same shape.
    """
    real = values + np.float32(sigma) * rng.standard_normal(values.shape, dtype=np.float32)
    imaginary = np.float32(sigma) * rng.standard_normal(values.shape, dtype=np.float32)
    return np.hypot(real, imaginary)


def scan(
    head: Head, site: Site, suffix: str, geometry: Geometry, rng: np.random.Generator
) -> tuple[Float, Float]:
    """Acquire one image.

    Args:
        head: The head in the scanner.
        site: The scanner.
        suffix: ``T1w`` or ``T2w``.
        geometry: From :func:`place`.
        rng: Random generator of the session's noise and receive field.

    Returns:
        The image and the receive field in it, both of the geometry's shape.
    """
    protocol = site.protocols[suffix]
    signal = magnetisation(head.anatomy, protocol, site.field_strength)
    values = sample(blurred(signal, protocol.blur, geometry.size), geometry)
    bias = receive_field(site, geometry.shape, rng)
    return add_noise(values * bias, protocol.noise * protocol.brightness, rng), bias
