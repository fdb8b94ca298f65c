"""Alignment by normalised gradient fields: images agree where their edges run in the same directions.

A receive field, saturated fat or another contrast change how bright a tissue is, and with it the joint
histogram that mutual information looks at; the direction of the edge between two tissues stays (Haber and
Modersitzki 2006, MICCAI, doi:10.1007/11866763_89). ITK has no such metric.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bids_mmh.preprocess.images import box_around, to_array
from bids_mmh.preprocess.transforms import apply_matrix, voxels_to_world

if TYPE_CHECKING:
    import SimpleITK

Matrix = NDArray[np.float64]
CROP_MARGIN_MM = 12.0
RADIUS_MM = 60.0  # a rotation is measured by how far it moves a point at this distance from the centre
REACH_MM = 40.0  # of a search, along each parameter
MIN_VOXELS = 500
RIGID, SCALED = 6, 9  # parameters


@dataclass(frozen=True)
class GradientField:
    """Normalised gradients of an image.

    Attributes:
        vectors: Directions of steepest ascent in LPS, shape (3, x, y, z); their length is below 1, and small
            where the gradient is far below a typical one.
        to_voxels: From LPS mm to voxel indices, 4 x 4.
    """

    vectors: NDArray[np.float32]
    to_voxels: Matrix

    def at(self, points: Matrix) -> NDArray[np.float32]:
        """Interpolate linearly.

        Args:
            points: LPS mm, shape (3, n).

        Returns:
            Vectors, shape (3, n); 0 outside the image.
        """
        from scipy.ndimage import map_coordinates

        where = apply_matrix(self.to_voxels, points)
        return np.stack([map_coordinates(v, where, order=1, mode="constant") for v in self.vectors])


def gradient_field(
    image: "SimpleITK.Image", sigma_mm: float, around: Matrix | None = None, floor: float | None = None
) -> GradientField:
    """Compute the normalised gradients of an image.

    Args:
        image: float32 image.
        sigma_mm: Width of the Gaussian (standard deviation); finer voxels are averaged first.
        around: Points (3, n), LPS mm, near which they are wanted; None for everywhere.
        floor: Share of the median gradient at those points which is a typical one; None for the mean of the
            image. The lower, the less a gradient's size counts beside its direction.

    Returns:
        The gradients.
    """
    import SimpleITK

    near = image if around is None else _crop(image, around)
    shrink = [
        min(max(1, int(sigma_mm / s)), n) for s, n in zip(near.GetSpacing(), near.GetSize(), strict=True)
    ]
    coarse = SimpleITK.BinShrink(near, shrink)
    if min(coarse.GetSize()) < 2:  # a difference needs two voxels
        coarse = near
    vectors, to_voxels = _gradients(coarse, sigma_mm), np.linalg.inv(voxels_to_world(coarse))
    length = np.sqrt((vectors**2).sum(axis=0))
    typical = float(length.mean())
    if floor is not None and around is not None:
        typical = floor * _median(length, apply_matrix(to_voxels, around))
    unit = (vectors / np.sqrt(length**2 + (typical or 1.0) ** 2)).astype(np.float32)
    return GradientField(unit, to_voxels)


def _median(volume: NDArray[np.float32], where: Matrix) -> float:
    from scipy.ndimage import map_coordinates

    return float(np.median(map_coordinates(volume, where, order=1)))


def _gradients(image: "SimpleITK.Image", sigma_mm: float) -> NDArray[np.float32]:
    """Gradients of a smoothed image in LPS, by differences of voxels: shape (3, x, y, z)."""
    from scipy.ndimage import gaussian_filter

    spacing = np.array(image.GetSpacing())
    # ITK's GradientRecursiveGaussian takes eight times as long.
    smooth = gaussian_filter(to_array(image), sigma_mm / spacing, mode="nearest", truncate=3.0)
    direction = np.reshape(image.GetDirection(), (3, 3)).astype(np.float32)
    return np.tensordot(direction, np.stack(np.gradient(smooth, *spacing)), axes=1)


def _crop(image: "SimpleITK.Image", around: Matrix) -> "SimpleITK.Image":
    """The part of an image around some points; the whole image where none is inside."""
    where = apply_matrix(np.linalg.inv(voxels_to_world(image)), around)
    margin = CROP_MARGIN_MM / np.array(image.GetSpacing())
    low = np.maximum(np.floor(where.min(axis=1) - margin), 0).astype(int)
    high = np.minimum(np.ceil(where.max(axis=1) + margin) + 1, image.GetSize()).astype(int)
    if (high - low < 4).any():
        return image
    (a, b, c), (d, e, f) = low.tolist(), high.tolist()
    return image[a:d, b:e, c:f]


@dataclass(frozen=True)
class Edges:
    """Edges of the fixed image.

    Attributes:
        points: LPS mm, shape (3, n).
        directions: Normalised gradients there, shape (3, n).
    """

    points: Matrix
    directions: NDArray[np.float32]

    def thinned(self, step: int) -> "Edges":
        """Keep some of the edges, at even distances in their order.

        Args:
            step: Every how manieth is kept.

        Returns:
            The edges that are left.
        """
        return Edges(self.points[:, ::step], self.directions[:, ::step])

    def _along(self, field: GradientField, matrix: Matrix) -> NDArray[np.float32]:
        """Gradients of another image at the points, turned into the fixed image's frame."""
        return matrix[:3, :3].T.astype(np.float32) @ field.at(apply_matrix(matrix, self.points))

    def similarity(self, field: GradientField, matrix: Matrix) -> float:
        """Mean squared inner product with another image's gradients.

        Args:
            field: Of the moving image.
            matrix: From the fixed image's points to those of the moving one, 4 x 4.

        Returns:
            0 to 1; points outside the moving image count as 0.
        """
        inner = (self.directions * self._along(field, matrix)).sum(axis=0)
        return float(np.mean(inner**2))

    def agreement(self, field: GradientField, matrix: Matrix) -> float:
        """Correlation with the gradients of another image of the same contrast, which may be scaled.

        Without its denominator, a map would win that takes the points to where the gradients are strong.

        Args:
            field: Of the moving image.
            matrix: From the fixed image's points to those of the moving one, 4 x 4.

        Returns:
            -1 to 1, for equal gradients; below 0 where dark and bright are exchanged.
        """
        there = field.at(apply_matrix(matrix, self.points))
        turned = matrix[:3, :3].T.astype(np.float32) @ there
        # A larger scale makes gradients steeper: only their directions are to change.
        lengths = np.linalg.norm(there, axis=0) / np.maximum(np.linalg.norm(turned, axis=0), 1e-6)
        other = turned * lengths
        energy = float((self.directions**2).sum()) * float((other**2).sum())
        return float((self.directions * other).sum()) / max(energy, 1e-9) ** 0.5

    def coherence(self, field: GradientField, matrix: Matrix) -> float:
        """Mean squared cosine of the angle to another image's gradients, weighted by their strengths.

        Args:
            field: Of the moving image.
            matrix: From the fixed image's points to those of the moving one, 4 x 4.

        Returns:
            1/3 for edges that have nothing to do with each other, up to 1; 0 where no point is inside.
        """
        other = self._along(field, matrix)
        strength = (self.directions**2).sum(axis=0) * (other**2).sum(axis=0)
        inner = (self.directions * other).sum(axis=0)
        return float((inner**2).sum() / max(float(strength.sum()), 1e-9))


def strongest_edges(field: GradientField, points: Matrix, share: float = 0.5) -> Edges:
    """Choose the points at which an image has its strongest edges.

    Args:
        field: Of the fixed image.
        points: Candidates, LPS mm, shape (3, n).
        share: Of the candidates.

    Returns:
        The edges.
    """
    directions = field.at(points)
    length = np.linalg.norm(directions, axis=0)
    strong = length >= np.quantile(length, 1 - share)
    return Edges(points[:, strong], directions[:, strong])


def displaced(base: Matrix, parameters: NDArray[np.float64], centre: NDArray[np.float64]) -> Matrix:
    """Change a map by a rotation, a translation and, where there are nine parameters, three scales.

    Args:
        base: From the fixed image's points to those of the moving one, 4 x 4.
        parameters: Rotation vector and translation of the moving image, in mm (the rotation at 60 mm from
            the centre), and the logarithms of scales along the fixed image's axes, as far as they move a
            point at that distance; shape (6,) or (9,).
        centre: What rotation and scales leave in place, in LPS mm of the fixed image, shape (3,).

    Returns:
        4 x 4 matrix.
    """
    from scipy.spatial.transform import Rotation

    linear = Rotation.from_rotvec(parameters[:3] / RADIUS_MM).as_matrix() @ base[:3, :3]
    if len(parameters) == SCALED:
        linear = linear @ np.diag(np.exp(parameters[6:] / RADIUS_MM))
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = base[:3, :3] @ centre + base[:3, 3] + parameters[3:6] - linear @ centre
    return matrix


def refined(
    edges: Edges,
    field: GradientField,
    base: Matrix,
    *,
    width_mm: float,
    reach_mm: float = REACH_MM,
    scaled: bool = False,
) -> Matrix:
    """Improve a map until the gradients agree best, by Powell's method.

    Args:
        edges: Of the fixed image.
        field: Gradients of the moving image.
        base: Where to start, 4 x 4.
        width_mm: Of the Gaussian at which the gradients were taken; half of it is the first step.
        reach_mm: How far each parameter may change: all of that is searched.
        scaled: Whether scales are changed too, and the images have the same contrast.

    Returns:
        4 x 4 matrix.
    """
    from scipy.optimize import minimize

    step_mm, tolerance_mm = width_mm / 2, width_mm / 50
    centre = edges.points.mean(axis=1)
    measure, count = (edges.agreement, SCALED) if scaled else (edges.similarity, RIGID)
    found = minimize(
        lambda parameters: -measure(field, displaced(base, parameters, centre)),
        np.zeros(count),
        method="Powell",
        bounds=[(-reach_mm, reach_mm)] * count,
        options={"direc": np.eye(count) * step_mm, "xtol": tolerance_mm, "ftol": 1e-5, "maxiter": 8},
    )
    return displaced(base, found.x, centre)


def points_inside(mask: "SimpleITK.Image", margin_mm: float, count: int, seed: int) -> Matrix:
    """Draw random points inside a mask.

    Args:
        mask: uint8 mask.
        margin_mm: Distance from its surface, ignored where little would be left.
        count: Number of points.
        seed: Of the random generator.

    Returns:
        LPS mm, shape (3, count); no points in an empty mask.
    """
    import SimpleITK

    shrink = [max(1, min(int(2.0 / s), n)) for s, n in zip(mask.GetSpacing(), mask.GetSize(), strict=True)]
    coarse = SimpleITK.BinShrink(SimpleITK.Cast(mask > 0, SimpleITK.sitkFloat32), shrink) >= 0.5
    brain = coarse[box_around(to_array(coarse) > 0, 1)]
    eroded = SimpleITK.BinaryErode(brain, [round(margin_mm / size) for size in brain.GetSpacing()])
    voxels = np.argwhere(to_array(eroded) > 0)
    if len(voxels) < MIN_VOXELS:
        voxels = np.argwhere(to_array(brain) > 0)
    if not len(voxels):
        return np.zeros((3, 0))
    rng = np.random.default_rng(seed)
    chosen = voxels[rng.integers(len(voxels), size=count)] + rng.uniform(-0.5, 0.5, (count, 3))
    return apply_matrix(voxels_to_world(brain), chosen.T)
