"""Slice encoders Ψ: a frozen network that turns 2-D slices into embeddings, behind one interface."""

import hashlib
from importlib.resources import files
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bids_mmh.errors import BadDataError
from bids_mmh.method.encoder.files import download, find_weights, load_all, read_weights, tower_state
from bids_mmh.method.encoder.style_network import MARKER, StyleNetwork, StyleNetworkConfig, read_style_config
from bids_mmh.method.encoder.towers import TOWERS, Intake
from bids_mmh.method.padding import BACKGROUND

VIT_CHUNK = 8  # slices at a time through a ViT-B: about 0.8 GB of activations when gradients flow


class SliceEncoder(nn.Module):
    """A frozen tower and the way it wants its slices; gradients flow through it to the slices.

    Args:
        name: what models and sidecars call it.
        tower: network from (N, channels, size, size) to (N, D).
        dim: length D of an embedding.
        intake: input size and normalisation that go with the weights.
        chunk: slices at a time, 0 for all; more than one chunk bounds memory, not results.
        checkpointing: recompute a chunk's activations in the backward pass instead of keeping them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        tower: nn.Module,
        dim: int,
        intake: Intake,
        *,
        chunk: int = 0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.name, self.dim, self.size, self.channels = name, dim, intake.size, intake.channels
        self.chunk, self.checkpointing = chunk, checkpointing
        self.tower = tower.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(intake.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(intake.std).view(1, -1, 1, 1), persistent=False)
        self.digest = weights_sha256(tower)
        self.eval()

    def train(self, mode: bool = True) -> "SliceEncoder":  # noqa: ARG002
        """Stay in evaluation mode, whatever the module around it does: the encoder is frozen."""
        return super().train(False)

    def forward(self, slices: Tensor) -> Tensor:
        """Embed slices.

        Args:
            slices: (N, 1, h, w) intensities in [−1, 1], background −1.

        Returns:
            (N, D) embeddings, as the tower gives them.
        """
        parts = slices.split(self.chunk or len(slices))
        return torch.cat([self._embed(part) for part in parts])

    def _embed(self, slices: Tensor) -> Tensor:
        if self.checkpointing and slices.requires_grad and torch.is_grad_enabled():
            return checkpoint(self._run, slices, use_reentrant=False)
        return self._run(slices)

    def _run(self, slices: Tensor) -> Tensor:
        unit = (square(slices, self.size) + 1.0) / 2.0
        return self.tower((unit.expand(-1, self.channels, -1, -1) - self.mean) / self.std)


def square(slices: Tensor, size: int) -> Tensor:
    """Pad (N, C, h, w) evenly with background to a square, then resize to ``size``: aspect is kept."""
    height, width = slices.shape[-2:]
    edge = max(height, width)
    top, left = (edge - height) // 2, (edge - width) // 2
    padded = F.pad(slices, (left, edge - width - left, top, edge - height - top), value=BACKGROUND)
    if edge == size:
        return padded
    return F.interpolate(padded, (size, size), mode="bilinear", antialias=True, align_corners=False)


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 of a module's weights by name, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_encoder(
    which: str | Path = "embedded", device: str | torch.device = "cpu", *, seed: int = 0
) -> SliceEncoder:
    """A slice encoder by name or path.

    Args:
        which: ``embedded`` (shipped with the project), ``biomedclip`` or ``clip`` (from the Hugging Face
            cache or hub), ``random`` (the embedded architecture, untrained), or the path of a file or folder
            of weights of any of the first three, recognised by its keys.
        device: where to.
        seed: of the weights of ``random``.

    Raises:
        NoInputError: the weights cannot be had.
        BadDataError: they are damaged, incomplete or of another architecture.
    """
    if which == "random":
        encoder = _untrained(seed)
    elif which == "embedded":
        encoder = _from_path(Path(str(files("bids_mmh.resources"))) / "slice_encoder")
    elif which in TOWERS:
        tower = TOWERS[str(which)]
        encoder = _from_path(download(tower), expected=tower.name)
    else:
        encoder = _from_path(Path(which))
    return encoder.to(device)


def _untrained(seed: int) -> SliceEncoder:
    config = StyleNetworkConfig(name="random")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return style_encoder(StyleNetwork(config))


def _from_path(path: Path, expected: str | None = None) -> SliceEncoder:
    """Load a file or folder of weights; ``expected`` is the tower that they must be of, any if None."""
    file = find_weights(path)
    state = tower_state(read_weights(file))
    if MARKER in state and expected is None:
        network = StyleNetwork(read_style_config(file.parent))
        load_all(network, state, file)
        return style_encoder(network)
    tower = next((tower for tower in TOWERS.values() if tower.marker in state), None)
    if tower is None or expected not in (None, tower.name):
        known = expected or f"{', '.join(TOWERS)} or a slice encoder of this tool"
        raise BadDataError(f"The weights in {file} are not those of {known}: give another file.")
    module = tower.build()
    load_all(module, state, file)
    return SliceEncoder(tower.name, module, tower.dim, tower.intake, chunk=VIT_CHUNK, checkpointing=True)


def style_encoder(network: StyleNetwork) -> SliceEncoder:
    """The project's own network as a (frozen) slice encoder."""
    return SliceEncoder(network.config.name, network, network.config.dim, network.config.intake)
