"""The linear, invertible scaling of intensities to the model's range [-1, 1]."""

import numpy as np

from bids_mmh.errors import BadDataError

# The robust range lands on +-0.9 so that the 1 % beyond either end mostly still fits in [-1, 1] unclipped.
SCALED_LIMIT = 0.9


def intensity_scaling(values_in_mask: np.ndarray) -> tuple[float, float]:
    """Compute the coefficients of ``scaled = slope * value + intercept`` for one scan.

    The 1st and 99th percentile of the values go to -0.9 and +0.9. The scaling never clips, so
    ``value = (scaled - intercept) / slope`` restores the scan exactly.

    Args:
        values_in_mask: Intensities of the voxels inside the brain mask, any shape, any unit.

    Returns:
        Slope (> 0) and intercept.

    Raises:
        BadDataError: If there are no finite values, or they have no contrast.

    Examples:
        >>> slope, intercept = intensity_scaling(np.arange(101.0))
        >>> round(slope * 1.0 + intercept, 6), round(slope * 99.0 + intercept, 6)
        (-0.9, 0.9)
    """
    values = np.asarray(values_in_mask, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise BadDataError("No finite intensities inside the brain mask: check the scan and its mask.")
    low, high = np.percentile(values, (1.0, 99.0))
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        raise BadDataError(
            f"The brain mask holds intensities without contrast (1st percentile {low:g}, 99th {high:g}): "
            "check the scan and its mask."
        )
    slope = 2 * SCALED_LIMIT / (high - low)
    return float(slope), float(-SCALED_LIMIT - slope * low)
