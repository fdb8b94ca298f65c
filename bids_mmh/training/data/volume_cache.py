"""Scans on a model's grid as memory-mapped arrays: built once, checked, then read as fast as the disk is."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.files import atomic_path
from bids_mmh.method.config import ModelConfig
from bids_mmh.method.padding import BACKGROUND
from bids_mmh.training.data.scans import Volume, load_on_grid


class VolumeCache:
    """Volumes of scans on one model's grid, float16 on disk.

    The grid must be that of the derivatives or coarser by a whole factor (then averaged over the cells).
    A file's name follows from the scan, its scaling and the grid, so a scan that was preprocessed again gets
    a new one.
    """

    def __init__(self, scans: Sequence[DerivedScan], config: ModelConfig, folder: Path) -> None:
        self.scans = list(scans)
        self.config = config
        self.files = [folder / f"{_key(scan, config.shape)}.npy" for scan in scans]

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> Volume:
        """Scan ``index``, padded to what the network accepts."""
        return self.volume(index, self.image(index))

    def build(self, threads: int = 1) -> None:
        """Make the files that are missing or damaged, ``threads`` at a time.

        Raises:
            BadDataError: a scan cannot be read or does not fit the grid.
        """
        missing = [i for i, file in enumerate(self.files) if _mapped(file, self.config.shape) is None]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self._build, missing))

    def image(self, index: int) -> Tensor:
        """Scan ``index`` as it is on the grid: (H, W, D) float32, background −1."""
        array = _mapped(self.files[index], self.config.shape)
        return torch.from_numpy((self._build(index) if array is None else array).astype(np.float32))

    def volume(self, index: int, image: Tensor) -> Volume:
        """``image`` (H, W, D), which is scan ``index`` or a change of it, as a training volume."""
        one = image[None, None]
        sequence = self.config.sequences.index(self.scans[index].sequence)
        return Volume(one, one > BACKGROUND, torch.tensor([sequence]))

    def _build(self, index: int) -> np.ndarray:
        array = load_on_grid(self.scans[index], self.config.shape)
        with atomic_path(self.files[index]) as partial:
            np.save(partial, array)
        return array


def _key(scan: DerivedScan, shape: tuple[int, ...]) -> str:
    stamps = [(path.stat().st_mtime_ns, path.stat().st_size) for path in (scan.image, scan.mask)]
    key = f"{scan.image}|{stamps}|{shape}|{scan.slope}|{scan.intercept}"
    return hashlib.sha256(key.encode()).hexdigest()[:20]


def _mapped(file: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array of a file, not yet read; None unless its header and its length are what they should be."""
    try:
        array = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == tuple(shape) and array.dtype == np.float16 else None
