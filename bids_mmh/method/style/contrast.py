"""What a scanner may change: contrast, a function of a voxel's intensity and of nothing else.

A network can match histograms by brightening one side of the brain, or by a pattern of its own grid. Neither
is what scanners differ in. The best function of intensity that explains a change is its contrast part; what
is left depends on the place, and that the losses hold down (docs/method.md).
"""

import torch
from torch import Tensor

KNOTS = 33  # of the piecewise linear function, evenly over [LOW, HIGH]; beyond, it is constant
LOW, HIGH = -1.5, 1.5
RIDGE = 1e-6  # of the voxels: gives knots that no voxel is near a value


@torch.no_grad()
def contrast_part(image: Tensor, change: Tensor, mask: Tensor) -> Tensor:
    """Least-squares fit of a change inside the brain by a piecewise linear function of the scan's intensity.

    The fit is a projection, so the gradient of the squared remainder by the change is twice the remainder: no
    gradient through the fit is missing.

    Args:
        image: the scan I (B, 1, H, W, D), brain in about [−1, 1].
        change: what is to be explained, same shape.
        mask: boolean brain mask, same shape.

    Returns:
        The fitted values, same shape, float32; 0 outside the mask.
    """
    part = torch.zeros_like(change, dtype=torch.float32)
    for scan, values, inside, fitted in zip(image, change.float(), mask, part, strict=True):
        if inside.any():
            fitted[inside] = _fit(scan[inside].float(), values[inside])
    return part


def contrast_loss(image: Tensor, moved: Tensor, mask: Tensor) -> Tensor:
    """Mean square, inside the brain, of the part of ``moved`` − ``image`` that is no contrast; (B,).

    Arguments as in :func:`contrast_part`; at least one voxel of each mask is true.
    """
    change = moved - image
    rest = torch.where(mask, change - contrast_part(image, change, mask), 0.0)
    return rest.square().flatten(1).sum(1) / mask.flatten(1).sum(1)


def _fit(intensity: Tensor, values: Tensor) -> Tensor:
    """Fitted values of one brain: intensities (N,) and what to explain (N,) → (N,)."""
    place = (intensity.clamp(LOW, HIGH) - LOW) * ((KNOTS - 1) / (HIGH - LOW))
    left = place.long().clamp(max=KNOTS - 2)
    right_share = place - left
    left_share = 1.0 - right_share
    # in float64: sums over millions of voxels
    normal = torch.zeros(KNOTS, KNOTS, dtype=torch.float64, device=values.device)
    normal.diagonal().fill_(RIDGE * len(values))
    moment = torch.zeros(KNOTS, dtype=torch.float64, device=values.device)
    diagonal = torch.zeros_like(moment).index_add_(0, left, left_share.double().square())
    diagonal.index_add_(0, left + 1, right_share.double().square())
    beside = torch.zeros_like(moment).index_add_(0, left, (left_share * right_share).double())[:-1]
    moment.index_add_(0, left, (left_share * values).double())
    moment.index_add_(0, left + 1, (right_share * values).double())
    normal += diagonal.diag() + beside.diag(1) + beside.diag(-1)
    heights = torch.linalg.solve(normal, moment).to(values.dtype)
    return left_share * heights[left] + right_share * heights[left + 1]
