"""The model's grid: the fixed field of view in MNI space."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.errors import UsageError

if TYPE_CHECKING:
    import SimpleITK

# Outer faces of the box in RAS+ world mm.  The ICBM 2009a brain spans x [-72, 72], y [-107, 73] and
# z [-72, 82] (voxel centres at 1 mm), so the box leaves about 2 mm in front and behind and 14 mm above and
# below, and cuts half of the outermost voxel layer at either side; MNI152NLin2009cAsym is an average of the
# same 152 subjects in the same frame.
BOX_LOW_MM = (-72.0, -109.0, -86.0)
BOX_SIZE_MM = (144.0, 184.0, 184.0)


@dataclass(frozen=True)
class Grid:
    """An axis-aligned grid with isotropic voxels in MNI world space (RAS+, mm).

    Attributes:
        shape: Number of voxels along x (right), y (anterior) and z (superior).
        spacing: Voxel size in mm.
    """

    shape: tuple[int, int, int]
    spacing: float

    @property
    def affine(self) -> np.ndarray:
        """The 4x4 matrix from voxel indices to RAS+ world mm."""
        affine = np.diag([self.spacing, self.spacing, self.spacing, 1.0])
        affine[:3, 3] = np.asarray(BOX_LOW_MM) + self.spacing / 2
        return affine

    def reference(self) -> "SimpleITK.Image":
        """Make a reference image to resample onto.

        Returns:
            An empty uint8 image with this geometry, in ITK's LPS world.
        """
        import SimpleITK

        low = self.affine[:3, 3]
        image = SimpleITK.Image([int(n) for n in self.shape], SimpleITK.sitkUInt8)
        image.SetSpacing([float(self.spacing)] * 3)
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        image.SetOrigin((-float(low[0]), -float(low[1]), float(low[2])))
        return image


def model_grid(spacing: float) -> Grid:
    """Make the model's grid for a voxel size.

    The field of view is the same for every voxel size, 144 x 184 x 184 mm.

    Args:
        spacing: Voxel size in mm; it must divide 144 and 184 mm.

    Returns:
        The grid.

    Raises:
        UsageError: If the field of view is not a whole number of voxels wide.

    Examples:
        >>> model_grid(1.0).shape
        (144, 184, 184)
        >>> model_grid(4.0).affine[:3, 3].tolist()
        [-70.0, -107.0, -84.0]
    """
    counts = [size / spacing if spacing > 0 else 0.0 for size in BOX_SIZE_MM]
    if min(counts) < 1 or any(abs(n - round(n)) > 1e-6 for n in counts):
        raise UsageError(
            f"A model grid of {spacing:g} mm does not divide the 144 x 184 x 184 mm box; use 1, 2 or 4 mm."
        )
    return Grid((round(counts[0]), round(counts[1]), round(counts[2])), float(spacing))
