"""Preprocessed derivatives as training volumes, cached as memory-mapped arrays on the model's grid."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.method.config import ModelConfig
from bids_mmh.method.padding import BACKGROUND, pad_to_multiple


@dataclass(frozen=True)
class TrainingScan:
    """One preprocessed scan: where it is and what it is."""

    image: Path
    mask: Path
    sequence: str
    site: str
    subject: str
    slope: float
    intercept: float


@dataclass(frozen=True)
class Volume:
    """One scan on the model's grid: image and mask (1, 1, H, W, D), sequence index (1,)."""

    image: Tensor
    mask: Tensor
    sequence: Tensor

    def to(self, device: torch.device) -> "Volume":
        """The same scan on ``device``, its image laid out as the convolutions like it."""
        image = self.image.to(device, memory_format=torch.channels_last_3d)
        return Volume(image, self.mask.to(device), self.sequence.to(device))


def find_scans(derivatives: Sequence[Path], sequences: Sequence[str]) -> list[TrainingScan]:
    """All ``space-*_desc-preproc`` scans of the given sequences, sorted by path in each folder.

    Raises:
        NoInputError: nothing found.
        BadDataError: a sidecar lacks what training needs, or its image or mask is missing.
    """
    sidecars = [
        path
        for root in derivatives
        for sequence in sequences
        for path in sorted(root.glob(f"sub-*/**/anat/*_space-*_desc-preproc_{sequence}.json"))
    ]
    if not sidecars:
        folders = ", ".join(str(root) for root in derivatives)
        raise NoInputError(
            f"No preprocessed {' or '.join(sequences)} scans in {folders}: run `participant` first."
        )
    return [_read_sidecar(path) for path in sidecars]


def _read_sidecar(path: Path) -> TrainingScan:
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        scaling = sidecar["IntensityScaling"]
        scan = TrainingScan(
            image=path.with_suffix(".nii.gz"),
            mask=path.parent / sidecar["BrainMask"],
            sequence=sidecar["Sequence"],
            site=sidecar["Site"] or "n/a",
            subject=path.name.split("_")[0],
            slope=float(scaling["Slope"]),
            intercept=float(scaling["Intercept"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadDataError(
            f"{path} is not a sidecar of this tool ({error!r}): preprocess the scan again."
        ) from error
    for file in (scan.image, scan.mask):
        if not file.is_file():
            raise BadDataError(f"{file} is missing, though {path.name} names it: preprocess the scan again.")
    return scan


def split_subjects(scans: Sequence[TrainingScan], fraction: float, seed: int) -> tuple[set[str], set[str]]:
    """Split subjects (never scans) into training and validation sets, at least one each if there are two."""
    subjects = sorted({scan.subject for scan in scans})
    order = np.random.default_rng(seed).permutation(len(subjects))
    count = min(max(1, round(fraction * len(subjects))), len(subjects) - 1)
    validation = {subjects[i] for i in order[:count]}
    return set(subjects) - validation, validation


class VolumeCache:
    """Volumes of scans on one model's grid; built once on disk, then memory-mapped.

    The grid must be that of the derivatives or coarser by a whole factor (then averaged over the cells).
    """

    def __init__(self, scans: Sequence[TrainingScan], config: ModelConfig, folder: Path) -> None:
        self.scans = list(scans)
        self.config = config
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> Volume:
        scan = self.scans[index]
        array = torch.from_numpy(np.load(self._file(scan), mmap_mode="c").astype(np.float32))
        multiple = self.config.network.multiple
        image = pad_to_multiple(array[None, None], multiple)
        mask = image > BACKGROUND
        return Volume(image, mask, torch.tensor([self.config.sequences.index(scan.sequence)]))

    def _file(self, scan: TrainingScan) -> Path:
        stamps = [(path.stat().st_mtime_ns, path.stat().st_size) for path in (scan.image, scan.mask)]
        key = f"{scan.image}|{stamps}|{self.config.shape}|{scan.slope}|{scan.intercept}"
        file = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.npy"
        if not file.exists():
            partial = file.with_suffix(".part")
            with partial.open("wb") as stream:
                np.save(stream, load_on_grid(scan, self.config.shape))
            partial.replace(file)
        return file


def load_on_grid(scan: TrainingScan, shape: tuple[int, int, int]) -> np.ndarray:
    """Read a scan, scale it, put background at −1 and average down to ``shape``; float16 (H, W, D).

    In-mask values are kept strictly above −1, so that the mask is ``volume > −1``.

    Raises:
        BadDataError: image and mask differ in shape, or the grid is not theirs over a whole factor.
    """
    image = torch.from_numpy(_read_array(scan.image))[None, None]
    mask = torch.from_numpy(_read_array(scan.mask) > 0)[None, None]
    factor = max(1, round(image.shape[2] / shape[0]))
    if mask.shape != image.shape or tuple(side // factor for side in image.shape[2:]) != tuple(shape):
        raise BadDataError(
            f"{scan.image} and its mask have shapes {tuple(image.shape[2:])} and {tuple(mask.shape[2:])}, "
            f"which do not fit a {shape} grid: train on a coarser one or preprocess them again."
        )
    scaled = image * scan.slope + scan.intercept
    weight = F.avg_pool3d(mask.float(), factor)
    mean = F.avg_pool3d(torch.where(mask, scaled, 0.0), factor) / weight.clamp(min=1e-6)
    volume = torch.where(weight > 0.5, mean.clamp(min=BACKGROUND + 1e-3), BACKGROUND)
    return volume[0, 0].numpy().astype(np.float16)


def _read_array(file: Path) -> np.ndarray:
    return np.asarray(cast(nib.Nifti1Image, nib.load(file)).dataobj, dtype=np.float32)
