"""Random acquisition styles: what a scanner and its protocol do to a slice, drawn at random.

A style is drawn once and then applied alike to slices of many subjects, so that all they share is the style.
Slices are (K, 1, h, w) in [0, 1] with background 0.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

SEGMENTS = 6  # of the contrast curve
FIELD = 3  # knots of the bias field along each side
RADIUS = 3  # of the blur's kernel in pixels


@dataclass(frozen=True)
class AcquisitionStyle:
    """One style.

    Attributes:
        curve: (SEGMENTS + 1,) rising values of a piecewise linear contrast curve over [0, 1].
        blur: standard deviation of the point spread in pixels, 0 for none.
        bias: strength of the receive field: standard deviation of its logarithm's knots.
        noise: standard deviation of the noise.
    """

    curve: Tensor
    blur: float
    bias: float
    noise: float


def draw_style(generator: Generator) -> AcquisitionStyle:
    """Draw a style.

    Contrast varies most. Blur, bias and noise are weak and come in one style of four each: strong ones are
    so easy to see that the encoder would live on them, and anatomy resembles them (wide sulci look sharp).
    """
    strength = _uniform(generator, 0.05, 0.4)
    rises = (strength * torch.randn(SEGMENTS, generator=generator)).softmax(0)
    low, high = _uniform(generator, 0.0, 0.05), _uniform(generator, 0.9, 1.05)
    curve = torch.cat([torch.zeros(1), rises.cumsum(0)])
    return AcquisitionStyle(
        curve=low + (high - low) * curve,
        blur=_sometimes(generator, 0.3, 0.8),
        bias=_sometimes(generator, 0.02, 0.1),
        noise=_sometimes(generator, 0.003, 0.02),
    )


def apply_style(slices: Tensor, style: AcquisitionStyle, generator: Generator) -> Tensor:
    """See slices through a style; every slice gets noise and a field of its own, background stays 0."""
    brain = (slices > 0).to(slices.dtype)
    seen = _through_curve(slices, style.curve) * brain
    if style.blur > 0:
        seen = _blurred(seen, style.blur) / _blurred(brain, style.blur).clamp(min=1e-3)
    if style.bias > 0:
        knots = style.bias * torch.randn(len(slices), 1, FIELD, FIELD, generator=generator)
        seen = seen * F.interpolate(knots, slices.shape[-2:], mode="bicubic", align_corners=True).exp()
    if style.noise > 0:
        seen = seen + style.noise * torch.randn(seen.shape, generator=generator)
    return seen.clamp(0.0, 1.2) * brain


def _through_curve(slices: Tensor, curve: Tensor) -> Tensor:
    position = slices.clamp(0.0, 1.0) * SEGMENTS
    index = position.long().clamp(max=SEGMENTS - 1)
    return curve[index] + (position - index) * (curve[index + 1] - curve[index])


def _blurred(slices: Tensor, sigma: float) -> Tensor:
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=slices.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    rows = F.conv2d(slices, kernel.view(1, 1, -1, 1), padding=(RADIUS, 0))
    return F.conv2d(rows, kernel.view(1, 1, 1, -1), padding=(0, RADIUS))


def _uniform(generator: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _sometimes(generator: Generator, low: float, high: float) -> float:
    value = _uniform(generator, low, high)
    return value if torch.rand((), generator=generator) < 0.25 else 0.0
