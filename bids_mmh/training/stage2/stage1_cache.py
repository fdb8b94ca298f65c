"""Outputs of the frozen Stage I model and slice encoder for each scan: computed once, kept on disk."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bids_mmh.errors import BadDataError
from bids_mmh.files import atomic_path
from bids_mmh.method.encoder.slices import weights_sha256
from bids_mmh.method.encoder.tpa_clip import TriPlanarEncoder
from bids_mmh.method.harmonizer import Harmonizer, Styled
from bids_mmh.method.precision import fast_autocast
from bids_mmh.training.data.volume_cache import VolumeCache
from bids_mmh.training.processes import gather_in_order, shares

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger("bids_mmh.training")

CHECKSUM = "sha256"


@dataclass(frozen=True)
class SliceEmbeddings:
    """Frozen embeddings of a scan I and of its output I′ of Stage I, and where their slices lie.

    Attributes:
        image: (1, V, Z, D) of I.
        aligned: the same of I′.
        places: (1, V, Z), 0 to 1.
    """

    image: Tensor
    aligned: Tensor
    places: Tensor

    def to(self, device: torch.device) -> "SliceEmbeddings":
        """The same on ``device``."""
        return SliceEmbeddings(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class UnifiedScan:
    """A scan, and what Stage I makes of it.

    Attributes:
        image: the scan I on the model's grid (1, 1, H, W, D).
        mask: its brain mask.
        sequence: its index m, (1,).
        aligned: I′, after Stage I.
        latent: I′, mapped to the target's tissue medians, inverted to the model's depth; on the network's
            grid.
        slices: embeddings of I and I′.
    """

    image: Tensor
    mask: Tensor
    sequence: Tensor
    aligned: Tensor
    latent: Tensor
    slices: SliceEmbeddings

    def to(self, device: torch.device) -> "UnifiedScan":
        """The same on ``device``."""
        return UnifiedScan(*(getattr(self, field.name).to(device) for field in fields(self)))


class Stage1Cache:
    """Stage I results of the scans of a volume cache, read from disk.

    Args:
        volumes: scans on the model's grid.
        folder: where the files are.
        maker: names what makes them; files of another maker are not used.
    """

    def __init__(self, volumes: VolumeCache, folder: Path, maker: str) -> None:
        self.volumes = volumes
        self.files = [
            folder / f"{hashlib.sha256(f'{maker}|{file.stem}'.encode()).hexdigest()[:20]}.safetensors"
            for file in volumes.files
        ]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> UnifiedScan:
        """The result of scan ``index``.

        Raises:
            BadDataError: its file was removed or damaged since it was checked.
        """
        volume = self.volumes[index]
        stored = _read(self.files[index], ("aligned", "latent"))
        aligned, latent = stored["aligned"].float(), stored["latent"].float()
        return UnifiedScan(volume.image, volume.mask, volume.sequence, aligned, latent, self.slices(index))

    def slices(self, index: int) -> SliceEmbeddings:
        """The slice embeddings of scan ``index`` alone."""
        names = tuple(field.name for field in fields(SliceEmbeddings))
        stored = _read(self.files[index], tuple(f"slices.{name}" for name in names))
        return SliceEmbeddings(*(value.float() for value in stored.values()))


def maker_of(model: Harmonizer, psi: TriPlanarEncoder) -> str:
    """Digest of everything that a result depends on beside its scan."""
    views = (psi.config.slices, psi.aggregator.views)
    config = replace(model.config, target=None)  # Stage I does not know where Stage II goes
    modules: list[torch.nn.Module] = [model.network, model.records]
    if config.intensity_map == "tissues" and model.target_records is not None:
        modules.append(model.target_records)  # the latent is that of the scan on the target's tissue medians
    parts = (repr(config), *map(weights_sha256, modules))
    return hashlib.sha256(repr((parts, psi.encoder.digest, views)).encode()).hexdigest()


def build_cache(cache: Stage1Cache, model: Harmonizer, psi: TriPlanarEncoder, fabric: "Fabric") -> None:
    """Compute the results that are missing or damaged, shared among the processes; all must call it.

    Args:
        cache: where they go.
        model: frozen Stage I model, on the run's device.
        psi: its frozen slice encoder is used.
        fabric: the run's.
    """
    checked = [(i, _is_sound(cache.files[i])) for i in shares(len(cache), fabric)]
    missing = [i for i, sound in enumerate(gather_in_order(fabric, checked)) if not sound]
    if missing and fabric.is_global_zero:
        logger.info("Stage I of %d scans (%d are there).", len(missing), len(cache) - len(missing))
    for turn in shares(len(missing), fabric):
        _build(cache, missing[turn], model, psi, fabric.device)
    fabric.barrier()


@torch.no_grad()
def _build(
    cache: Stage1Cache, index: int, model: Harmonizer, psi: TriPlanarEncoder, device: torch.device
) -> None:
    volume = cache.volumes[index].to(device)
    with fast_autocast(device):
        anchor = model.anchor(volume.image, volume.mask, volume.sequence)
        aligned = model.unify(volume.image, anchor)
        start = Styled(aligned, model.style(aligned, anchor.even))
        if model.target_records is not None:
            start = model.landmark_map(start, anchor, model.target_records.of(volume.sequence))
        latent = model.invert(*model.on_network_grid(start, anchor)).value
    image_slices, places = psi.slices(volume.image, anchor.mask)
    aligned_slices, _ = psi.slices(aligned, anchor.mask)
    _write(
        cache.files[index],
        {
            "aligned": aligned.half(),
            "latent": latent.half(),
            "slices.image": image_slices,
            "slices.aligned": aligned_slices,
            "slices.places": places,
        },
    )


def _write(file: Path, tensors: dict[str, Tensor]) -> None:
    ready = {name: value.float() if "slices" in name else value for name, value in tensors.items()}
    ready = {name: value.cpu().contiguous() for name, value in ready.items()}
    with atomic_path(file) as partial:
        save_file(ready, partial, metadata={CHECKSUM: _checksum(ready)})


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _is_sound(file: Path) -> bool:
    """Whether a file is whole: every byte is what was written."""
    try:
        with safe_open(file, "pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            return bool((stored.metadata() or {}).get(CHECKSUM) == _checksum(tensors))
    except (OSError, SafetensorError):
        return False


def _read(file: Path, names: Sequence[str]) -> dict[str, Tensor]:
    try:
        with safe_open(file, "pt") as stored:
            return {name: stored.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise BadDataError(f"{file} was removed or damaged while training ran: start it again.") from error
