"""The project's own slice encoder: a small convolutional network for acquisition style.

Style is how much of a feature there is, not where: so the features of every depth are pooled to their mean
and standard deviation over the brain. A point-wise branch sees intensities alone, which makes its mean a
learned histogram; the convolutions see contrast between neighbours, noise and blur.
"""

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save
from torch import Tensor, nn

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.files import atomic_path
from bids_mmh.method.encoder.towers import Intake

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
MARKER = "tone.0.weight"
BRAIN = 0.01  # of [0, 1]: what is brighter is brain, what is darker background


@dataclass(frozen=True)
class StyleNetworkConfig:
    """Architecture of the style network.

    Attributes:
        name: what outputs call it.
        size: edge of the input in pixels.
        dim: length D of the embedding.
        tones: channels of the point-wise branch.
        widths: channels of the convolutions, each of which halves the resolution.
    """

    name: str = "embedded"
    size: int = 96
    dim: int = 128
    tones: int = 16
    widths: tuple[int, ...] = (32, 64, 96, 128)

    @property
    def intake(self) -> Intake:
        """One channel, [0, 1] as it is: the first batch normalisation does the rest."""
        return Intake(self.size, 1, (0.0,), (1.0,))


class StyleNetwork(nn.Module):
    """(N, 1, size, size) slices in [0, 1] to (N, D) embeddings of length √D.

    That length is of the size of a sinusoidal position code's, √(D/2), so that neither drowns the other in
    the sum of Eq. 15.
    """

    def __init__(self, config: StyleNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.tone = nn.Sequential(nn.Conv2d(1, config.tones, 1), nn.SiLU())
        kernels = [5] + [3] * (len(config.widths) - 1)
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, width, kernel, stride=2, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(width),
                nn.SiLU(),
            )
            for kernel, (before, width) in zip(kernels, pairwise((1, *config.widths)), strict=True)
        )
        pooled = 2 * (config.tones + sum(config.widths))
        self.head = nn.Sequential(
            nn.BatchNorm1d(pooled),
            nn.Linear(pooled, 2 * config.dim),
            nn.SiLU(),
            nn.Linear(2 * config.dim, config.dim),
        )

    def forward(self, slices: Tensor) -> Tensor:
        """Embed slices; background is 0."""
        brain = (slices > BRAIN).to(slices.dtype)
        moments = [masked_moments(self.tone(slices), brain)]
        features = slices
        for level in self.levels:
            features = level(features)
            moments.append(masked_moments(features, F.adaptive_avg_pool2d(brain, features.shape[-2:])))
        embedding = self.head(torch.cat(moments, dim=1))
        return F.normalize(embedding, dim=1) * self.config.dim**0.5


def masked_moments(features: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean and standard deviation over the pixels of (N, C, h, w); (N, 2C), 0 where no weight is."""
    share = (weight / weight.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)).flatten(1)[..., None]
    flat = features.flatten(2)
    mean, square = (flat @ share)[..., 0], (flat.square() @ share)[..., 0]
    return torch.cat([mean, ((square - mean.square()).clamp(min=0.0) + 1e-6).sqrt()], dim=1)


def save_style_network(network: StyleNetwork, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` into ``folder``, each atomically."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with atomic_path(folder / WEIGHTS_FILE) as file:
        file.write_bytes(save(tensors))
    with atomic_path(folder / CONFIG_FILE) as file:
        file.write_text(json.dumps(asdict(network.config), indent=2) + "\n", encoding="utf-8")


def read_style_config(folder: Path) -> StyleNetworkConfig:
    """Read the configuration beside a style network's weights.

    Raises:
        NoInputError: there is none.
        BadDataError: it is damaged or of another version.
    """
    file = folder / CONFIG_FILE
    if not file.is_file():
        raise NoInputError(f"{file} is missing: a slice encoder of this tool needs it beside its weights.")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return StyleNetworkConfig(**{**values, "widths": tuple(cast(list[int], values["widths"]))})
    except (ValueError, TypeError, KeyError) as error:
        raise BadDataError(f"{file} is not a slice encoder's configuration ({error!r}).") from error
