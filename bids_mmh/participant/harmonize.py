"""The harmonize node: a preprocessed scan through the model, on CPU or GPU."""

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Directory,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from nipype.interfaces.base.traits_extension import isdefined

from bids_mmh import __version__
from bids_mmh.method.config import BACKGROUND

if TYPE_CHECKING:
    from bids_mmh.method.harmonizer import Harmonizer

logger = logging.getLogger(__name__)


class _Inputs(BaseInterfaceInputSpec):
    image = File(exists=True, mandatory=True, desc="preprocessed scan on the model's grid")
    mask = File(exists=True, mandatory=True, desc="brain mask on the model's grid")
    sequence = traits.Str(mandatory=True, desc="BIDS suffix")
    subject = traits.Str(desc="whose scan it is, with sub-")
    model = Directory(exists=True, mandatory=True, desc="model folder")
    model_sha256 = traits.Str(mandatory=True, desc="digest of the weights; other weights run the node again")
    device = traits.Str("auto", usedefault=True, desc="auto, cpu, cuda or cuda:N")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="CPU threads")
    version = traits.Str(__version__, usedefault=True, desc="of the program; another one runs the node again")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="queue on the GPU slots of the plugin")
    gpu = traits.Int(nohash=True, desc="index of the GPU that the plugin lends to this node")


class _Outputs(TraitedSpec):
    harmonized = File(exists=True, desc="harmonized scan, scaled intensities, background -1")
    slope = traits.Float(desc="scaled = slope * value + intercept, for the preprocessed scan")
    intercept = traits.Float()
    device = traits.Str(desc="what it ran on")
    precision = traits.Str(desc="bf16-mixed or 32-true: what the network computed in")
    seconds = traits.Float(desc="wall time of the model")
    fallback = traits.Any(desc="why it ran on the CPU though another device was asked for; None if not")


class HarmonizeScan(SimpleInterface):
    """Scale a scan, harmonize it and write the result, still scaled, into the node's folder."""

    input_spec = _Inputs
    output_spec = _Outputs

    def _run_interface(self, runtime: Any) -> Any:  # noqa: ANN401
        from bids_mmh.participant.harmonize import harmonize_file

        self._results.update(
            harmonize_file(
                Path(self.inputs.image),
                Path(self.inputs.mask),
                sequence=self.inputs.sequence,
                subject=self.inputs.subject if isdefined(self.inputs.subject) else None,
                model=Path(self.inputs.model),
                model_sha256=self.inputs.model_sha256,
                device=self._device(),
                threads=self.inputs.num_threads,
                out_file=Path(runtime.cwd) / "harmonized.nii.gz",
            )
        )
        return runtime

    def _device(self) -> str:
        """The device to run on: one that was named goes before one that is lent."""
        lent = self.inputs.device == "cuda" and isdefined(self.inputs.gpu)
        return f"cuda:{self.inputs.gpu}" if lent else str(self.inputs.device)


@dataclass(frozen=True)
class Harmonized:
    """One scan on the model's grid, before and after.

    Attributes:
        before: (X, Y, Z) float32 scaled intensities, background −1.
        after: the same after the model.
        slope: scaled = slope · value + intercept, for the scan before.
        intercept: of the same map.
        fallback: why it ran on the CPU though another device was asked for; None where it did not.
    """

    before: np.ndarray
    after: np.ndarray
    slope: float
    intercept: float
    fallback: str | None = None


def scale_brain(values: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Scale a scan for the model.

    Args:
        values: (X, Y, Z) float32 intensities in any unit.
        brain: boolean mask of the same shape.

    Returns:
        Scaled float32 intensities with −1 outside the brain, slope and intercept.

    Raises:
        BadDataError: the brain is empty or has no contrast.
    """
    from bids_mmh.preprocess.scaling import intensity_scaling

    slope, intercept = intensity_scaling(values[brain])
    scaled = values * np.float32(slope) + np.float32(intercept)
    return np.where(brain, scaled, np.float32(BACKGROUND)), slope, intercept


def harmonize_volume(
    model: "Harmonizer",
    values: np.ndarray,
    brain: np.ndarray,
    sequence: str,
    *,
    subject: str | None = None,
) -> Harmonized:
    """Scale a preprocessed scan and harmonize it, where the model is.

    A scan for which the memory of the GPU does not suffice is harmonized on the CPU.

    Args:
        model: in evaluation mode, on its device.
        values: (X, Y, Z) float32 intensities on the model's grid, in any unit.
        brain: boolean mask of the same shape.
        sequence: BIDS suffix.
        subject: whose scan it is, with ``sub-``: what is known of a target site then comes from others alone.

    Raises:
        BadDataError: the brain is empty or has no contrast, or the model does not know the sequence.
    """
    import torch

    before, slope, intercept = scale_brain(values, brain)
    index = model.sequence_index(sequence)
    try:
        after = _run_model(model, before, brain, index, subject=subject)
        return Harmonized(before, after, slope, intercept)
    except torch.OutOfMemoryError:  # only GPUs raise it
        device = next(model.parameters()).device
        logger.warning("The memory of %s does not suffice: a scan is harmonized on the CPU.", device)
    try:
        after = _run_model(model.to("cpu"), before, brain, index, subject=subject)
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        model.to(device)
    return Harmonized(before, after, slope, intercept, fallback=f"the memory of {device} did not suffice")


def _run_model(
    model: "Harmonizer", before: np.ndarray, brain: np.ndarray, sequence: int, *, subject: str | None
) -> np.ndarray:
    import torch

    from bids_mmh.freed_memory import freed_memory_kept

    device = next(model.parameters()).device
    volume, mask = (torch.from_numpy(array)[None, None].to(device) for array in (before, brain))
    index = torch.tensor([sequence], device=device)
    with freed_memory_kept():
        return np.asarray(model(volume, mask, index, subject=subject)[0, 0].cpu().numpy())


def harmonize_file(
    image: Path,
    mask: Path,
    *,
    sequence: str,
    model: Path,
    model_sha256: str,
    device: str,
    threads: int,
    out_file: Path,
    subject: str | None = None,
) -> dict[str, Any]:
    """Harmonize one preprocessed file; returns what :class:`HarmonizeScan` puts out.

    Raises:
        BadDataError: the scan has no contrast, or the model does not know the sequence.
    """
    import torch

    torch.set_num_threads(threads)
    harmonizer = load_model(model, model_sha256, choose_device(device))
    return harmonize_image(harmonizer, image, mask, sequence=sequence, out_file=out_file, subject=subject)


@lru_cache(maxsize=8)  # a run has one model, and a worker may get another GPU of the node each time
def load_model(folder: Path, sha256: str, device: str) -> "Harmonizer":  # noqa: ARG001 (a part of the key)
    """Load a model, once in a process and for each device.

    Args:
        folder: the model's folder.
        sha256: its digest; another one means that the folder holds other weights than before.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        The model in evaluation mode, on its device.

    Raises:
        NoInputError: the folder is not a model folder.
        BadDataError: its weights do not fit its configuration.
    """
    from bids_mmh.method.harmonizer import Harmonizer

    return Harmonizer.from_pretrained(folder, device)


def harmonize_image(
    model: "Harmonizer",
    image: Path,
    mask: Path,
    *,
    sequence: str,
    out_file: Path,
    subject: str | None = None,
) -> dict[str, Any]:
    """Harmonize one preprocessed file with a loaded model, where that is.

    Raises:
        BadDataError: the scan has no contrast, or the model does not know the sequence.
    """
    import time

    import nibabel as nib
    import torch

    from bids_mmh.method.precision import precision_name
    from bids_mmh.preprocess.images import open_nifti, save_nifti

    source = open_nifti(image)
    values = np.asarray(source.dataobj, dtype=np.float32)
    brain = np.asarray(open_nifti(mask).dataobj) > 0
    start = time.perf_counter()
    result = harmonize_volume(model, values, brain, sequence, subject=subject)
    seconds = time.perf_counter() - start
    device = torch.device("cpu") if result.fallback else next(model.parameters()).device
    header = source.header.copy()
    header.set_data_dtype(np.float32)
    save_nifti(nib.Nifti1Image(result.after, source.affine, header), out_file)
    return {
        "harmonized": str(out_file),
        "slope": result.slope,
        "intercept": result.intercept,
        "device": str(device),
        "precision": precision_name(device),
        "seconds": round(seconds, 2),
        "fallback": result.fallback,
    }


def choose_device(device: str, *, elsewhere: bool = False) -> str:
    """Turn ``auto`` into ``cuda`` where there is a GPU, and check that an asked-for GPU exists.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        elsewhere: the model runs on other machines, whose GPUs cannot be looked at from here.

    Raises:
        UsageError: CUDA was asked for and is not there.
    """
    if device == "cpu":
        return device
    from bids_mmh.errors import UsageError
    from bids_mmh.runtime.devices import count_gpus

    count = count_gpus()
    if device == "auto":
        return "cuda" if count else "cpu"
    if elsewhere:
        return device
    if not count:
        raise UsageError(
            f"--device {device} was asked for, but no CUDA device is visible here: use cpu or auto."
        )
    if int(device.partition(":")[2] or 0) >= count:
        raise UsageError(
            f"--device {device} was asked for, but the last CUDA device here is cuda:{count - 1}."
        )
    return device
