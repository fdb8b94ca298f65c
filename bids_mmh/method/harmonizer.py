"""The harmonizer: one scaled volume in, the same brain in its sequence's unified domain out (Stage I)."""

import hashlib
import json
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.method.config import ModelConfig
from bids_mmh.method.gradient import gradient_map
from bids_mmh.method.network import ConditionalUNet
from bids_mmh.method.padding import BACKGROUND, crop_to, pad_to_multiple
from bids_mmh.method.sampling import invert, sample
from bids_mmh.method.schedule import NoiseSchedule
from bids_mmh.method.style import StyleRecords, style_statistics, to_style

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


class Harmonizer(nn.Module):
    """Network, style records and the walk between them.

    Inversion is told the scan's own style, sampling the record of its sequence. That change of style is what
    harmonizes: with one style for both directions the walk returns the input (docs/method.md).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = NoiseSchedule()
        self.network = ConditionalUNet(config.network, len(config.sequences))
        self.records = StyleRecords(len(config.sequences), config.bins, config.decay)

    def sequence_index(self, sequence: str) -> int:
        """Index m of a BIDS suffix; BadDataError if the model was not trained for it."""
        if sequence not in self.config.sequences:
            known = ", ".join(self.config.sequences)
            raise BadDataError(
                f"Model '{self.config.name}' knows {known} but not {sequence}: choose another model."
            )
        return self.config.sequences.index(sequence)

    @torch.inference_mode()
    def forward(self, volume: Tensor, mask: Tensor, sequence: Tensor, style: Tensor | None = None) -> Tensor:
        """Harmonize a batch; deterministic.

        Args:
            volume: (B, 1, H, W, D) float32, brain in about [−1, 1], background −1.
            mask: (B, 1, H, W, D) boolean brain mask.
            sequence: (B,) sequence indices.
            style: (B, 2) mean and standard deviation to move to; the sequence's record by default.

        Returns:
            Harmonized volumes, shape of ``volume``, background −1.
        """
        shape = volume.shape
        multiple = self.config.network.multiple
        padded = pad_to_multiple(volume, multiple).to(memory_format=torch.channels_last_3d)
        inside = pad_to_multiple(mask.bool(), multiple, value=False)
        own = style_statistics(volume, mask, self.config.bins).moments
        target = self.records.of(sequence).moments if style is None else style
        gradient = gradient_map(padded)
        predict = partial(self._predict, gradient=gradient, sequence=sequence)
        latent = invert(
            self.schedule,
            partial(predict, style=own),
            padded,
            depth=self.config.depth,
            steps=self.config.inversion_steps,
        )
        clean = sample(
            self.schedule,
            partial(predict, style=target),
            latent,
            depth=self.config.depth,
            steps=self.config.sampling_steps,
            correct=partial(to_style, mask=inside, style=target) if self.config.output_adain else None,
        )
        return torch.where(mask.bool(), crop_to(clean, shape), BACKGROUND)

    def _predict(
        self, volume: Tensor, t: Tensor, *, gradient: Tensor, sequence: Tensor, style: Tensor
    ) -> Tensor:
        return self.network(volume, t, gradient, sequence, style)

    def save_pretrained(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``, each atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        weights = folder / f".{WEIGHTS_FILE}.part"
        weights.write_bytes(save(tensors))
        weights.replace(folder / WEIGHTS_FILE)
        config = folder / f".{CONFIG_FILE}.part"
        config.write_text(json.dumps(self.config.to_dict(), indent=2) + "\n", encoding="utf-8")
        config.replace(folder / CONFIG_FILE)

    @classmethod
    def from_pretrained(cls, folder: Path, device: str | torch.device = "cpu") -> "Harmonizer":
        """Load a model folder.

        Raises:
            NoInputError: a file of the model is missing.
            BadDataError: a file is damaged, or weights and configuration do not fit together.
        """
        model = cls(read_config(folder))
        try:
            model.load_state_dict(load_file(_existing(folder / WEIGHTS_FILE)))
        except (RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadDataError(f"The weights in {folder} do not fit its configuration: {reason}.") from error
        return model.to(device).to(memory_format=torch.channels_last_3d).eval()


def read_config(folder: Path) -> ModelConfig:
    """Read the configuration of a model folder.

    Raises:
        NoInputError: there is no ``config.json``.
        BadDataError: it is damaged or of another version.
    """
    file = _existing(folder / CONFIG_FILE)
    try:
        return ModelConfig.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadDataError(f"{file} is not a configuration of this version ({error}).") from error


def model_sha256(folder: Path) -> str:
    """SHA-256 of a model folder's configuration and weights, one after the other; every sidecar has it.

    The configuration counts too: the same weights sampled from another depth are another model.
    """
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        digest.update(_existing(folder / name).read_bytes())
    return digest.hexdigest()


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise NoInputError(f"{file.parent} is not a model folder: {file.name} is missing.")
    return file
