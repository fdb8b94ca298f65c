"""Anatomies on the model's grid: whose heads the generator scans."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bids_mmh.errors import BadDataError, NoInputError


@dataclass(frozen=True)
class Anatomy:
    """One brain, as a mixture of at most two regions in each voxel.

    Attributes:
        first: (H, W, D) uint8 :class:`~bids_mmh.synthesis.regions.Region` of each voxel.
        second: the other region in it.
        share: float32 share of ``first``, 0 to 1.
        texture: float32, how far a real scan lay from that mixture, in units of the step from grey to white
            matter; zeros for an anatomy of labels.
        mask: boolean brain mask.
    """

    first: Tensor
    second: Tensor
    share: Tensor
    texture: Tensor
    mask: Tensor

    @property
    def region(self) -> Tensor:
        """The region that fills most of each voxel."""
        return torch.where(self.share >= 0.5, self.first, self.second)


def find_anatomies(folder: Path, held_out: Sequence[str] = ()) -> list[list[Path]]:
    """Files of all prepared anatomies but those ``held_out`` by name, by the kind of their source, sorted.

    Raises:
        NoInputError: none is left.
    """
    kinds = [sorted(kind.glob("*.npz")) for kind in sorted(folder.iterdir()) if kind.is_dir()]
    found = [[path for path in kind if path.stem not in held_out] for kind in kinds]
    found = [kind for kind in found if kind]
    if not found:
        raise NoInputError(
            f"No anatomies in {folder}: benchmarks/data/anatomies.py makes them from public data."
        )
    return found


def load_anatomy(path: Path, device: torch.device | str = "cpu") -> Anatomy:
    """Read what ``benchmarks/data/anatomies.py`` wrote.

    Raises:
        BadDataError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = {name: torch.from_numpy(file[name]).to(device) for name in file.files}
        return Anatomy(
            first=parts["first"],
            second=parts["second"],
            share=parts["share"].float() / 255,
            texture=(parts["texture"].float() / 127).expand(parts["first"].shape),
            mask=parts["mask"],
        )
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise BadDataError(f"{path} is no prepared anatomy ({error!r}): make it again.") from error
