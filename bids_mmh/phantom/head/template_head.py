"""The average head: MNI152 tissue maps, and the surfaces and structures that the maps lack.

The maps that nilearn ships are skull-stripped. Skull, scalp, face and neck are modelled around them by signed
distance functions.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bids_mmh.phantom.head.grid import HEAD, Float, refine
from bids_mmh.phantom.head.organs import Organs, deep_nuclei, draw_organs
from bids_mmh.phantom.head.shapes import Mask, closing, ellipsoid, ellipsoid_pair, inside, union


@dataclass(frozen=True)
class TemplateHead:
    """Maps of the average head on the head grid (``HEAD``).

    Attributes:
        t1: Sharpened MNI152 T1-weighted intensity, about 0 to 1, 0 outside the brain.
        white: Share of white matter in the tissue of a voxel, 0 to 1.
        deep: Share of deep nuclei in the grey matter of a voxel, 0 to 1.
        brain: Brain with its ventricles and sulci.
        inner_skull: Signed distance to the inside of the skull and spinal canal in mm, negative inside.
        skin: Signed distance to the surface of the head in mm, negative inside.
        ventricles: Distance to the lateral and third ventricles in mm on a 4 mm grid.
        organs: Eyes, airways and vertebrae.
    """

    t1: Float
    white: Float
    deep: Float
    brain: Mask
    inner_skull: Float
    skin: Float
    ventricles: Float
    organs: Organs


def _on_head_grid(name: str) -> Float:
    """Load one of nilearn's MNI152 maps and place it on the head grid."""
    from nilearn import datasets

    image = getattr(datasets, name)(resolution=1)
    start = np.round(image.affine[:3, 3] - np.asarray(HEAD.origin)).astype(int)
    # The maps extend beyond the head grid only where they are empty.
    spans = [(max(0, -s), min(n, m - s)) for s, n, m in zip(start, image.shape, HEAD.shape, strict=True)]
    out = np.zeros(HEAD.shape, np.float32)
    target = tuple(slice(s + a, s + b) for s, (a, b) in zip(start, spans, strict=True))
    out[target] = np.asarray(image.dataobj, np.float32)[tuple(slice(a, b) for a, b in spans)]
    return out


def _sharpen(values: Float, brain: Mask, amount: float) -> Float:
    """Sharpen a map inside the brain, without the dark outside showing at the brain's border."""
    from scipy.ndimage import gaussian_filter

    weight = gaussian_filter(brain.astype(np.float32), 2.0, truncate=2.5)
    blurred = gaussian_filter(values, 2.0, truncate=2.5) / np.maximum(weight, 1e-3)
    return np.where(brain, values + np.float32(amount) * (values - blurred), 0).astype(np.float32)


def cord_centre(z: Float) -> Float:
    """Compute the position of the spinal cord, which runs slightly backwards on its way down.

    Args:
        z: Height in template space, mm.

    Returns:
        y of the cord's centre in mm, same shape.
    """
    return np.float32(-45) + np.float32(0.1) * (z + 72)


def _inner_skull(brain: Mask) -> Float:
    """Inside of the skull on a 2 mm grid: the closed brain, a film of fluid, and the spinal canal."""
    from scipy.ndimage import gaussian_filter

    grid = HEAD.coarser(2.0)
    closed = closing(brain[::2, ::2, ::2], grid.spacing, radius=10)
    x, y, z = grid.axes()
    canal = np.maximum(np.sqrt(x**2 + (y - cord_centre(z)) ** 2) - 9, z + 62)
    return gaussian_filter(union(closed - 0.7, canal), 1.0)


def _skin(inner_skull: Float) -> Float:
    """Surface of the head on a 2 mm grid: cranium, face, nose, jaw, ears and neck."""
    from scipy.ndimage import gaussian_filter

    grid = HEAD.coarser(2.0)
    x, y, z = grid.axes()
    vault = closing((inner_skull < 0) & (z > -62), grid.spacing, radius=30)
    face = ellipsoid(grid, (0, 22, -48), (64, 67, 62))
    jaw = ellipsoid(grid, (0, 34, -96), (50, 50, 40))
    neck = np.maximum((np.hypot(x / 60, (y + 38) / 60) - 1) * 60, z + 45)
    head = union(vault - 12.5, face, jaw, neck, blend=24)
    nose = ellipsoid(grid, (0, 89, -56), (14, 21, 20))
    ears = ellipsoid_pair(grid, (80, -24, -45), (7, 15, 27))
    return gaussian_filter(union(head, nose, ears), 1.0)


def _ventricles(t1: Float) -> Float:
    """Distance in mm to the ventricles on a 4 mm grid: the large dark component in the middle."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter, label

    x, y, z = HEAD.axes()
    middle = (np.abs(x) < 36) & (np.abs(y + 8) < 45) & (np.abs(z - 12) < 24)
    parts, _ = label((middle & (t1 > 0) & (t1 < 0.45))[::2, ::2, ::2])
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    distance = gaussian_filter(distance_transform_edt(~largest) * 2, 1.5)
    return distance[::2, ::2, ::2].astype(np.float32)


@lru_cache(maxsize=1)
def template_head() -> TemplateHead:
    """Build the average head, in a few seconds.

    Returns:
        The head; it is cached, so that forked worker processes share it.
    """
    t1 = _on_head_grid("load_mni152_template")
    white = _on_head_grid("load_mni152_wm_template")
    brain = t1 > 0
    inner = _inner_skull(brain)
    skin = _skin(inner)
    deep = inside(refine(deep_nuclei(HEAD.coarser(2.0)), HEAD.shape, 0.5), width=3)
    sharp = np.clip((_sharpen(white, brain, 0.8) - 0.5) / 0.55 + 0.5, 0, 1)
    return TemplateHead(
        t1=_sharpen(t1, brain, 1.0),
        white=deep * white + (1 - deep) * sharp,
        deep=deep,
        brain=brain,
        inner_skull=refine(inner, HEAD.shape, 0.5),
        skin=refine(skin, HEAD.shape, 0.5),
        ventricles=_ventricles(t1),
        organs=draw_organs(),
    )
