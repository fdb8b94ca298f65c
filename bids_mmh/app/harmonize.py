"""The harmonize node: a preprocessed scan through the model, on CPU or GPU."""

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Directory,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class _Inputs(BaseInterfaceInputSpec):
    image = File(exists=True, mandatory=True, desc="preprocessed scan on the model's grid")
    mask = File(exists=True, mandatory=True, desc="brain mask on the model's grid")
    sequence = traits.Str(mandatory=True, desc="BIDS suffix")
    model = Directory(exists=True, mandatory=True, desc="model folder")
    model_sha256 = traits.Str(mandatory=True, desc="digest of the weights; other weights run the node again")
    device = traits.Str("auto", usedefault=True, desc="auto, cpu, cuda or cuda:N")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="CPU threads")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="queue on the GPU slots of the plugin")


class _Outputs(TraitedSpec):
    harmonized = File(exists=True, desc="harmonized scan, scaled intensities, background -1")
    slope = traits.Float(desc="scaled = slope * value + intercept, for the preprocessed scan")
    intercept = traits.Float()
    device = traits.Str(desc="what it ran on")
    seconds = traits.Float(desc="wall time of the model")


class HarmonizeScan(SimpleInterface):
    """Scale a scan, harmonize it and write the result, still scaled, into the node's folder."""

    input_spec = _Inputs
    output_spec = _Outputs

    def _run_interface(self, runtime: Any) -> Any:  # noqa: ANN401
        from bids_mmh.app.harmonize import harmonize_file

        self._results.update(
            harmonize_file(
                Path(self.inputs.image),
                Path(self.inputs.mask),
                sequence=self.inputs.sequence,
                model=Path(self.inputs.model),
                device=self.inputs.device,
                threads=self.inputs.num_threads,
                out_file=Path(runtime.cwd) / "harmonized.nii.gz",
            )
        )
        return runtime


def harmonize_file(
    image: Path, mask: Path, *, sequence: str, model: Path, device: str, threads: int, out_file: Path
) -> dict[str, Any]:
    """Harmonize one preprocessed file; returns what :class:`HarmonizeScan` puts out.

    Raises:
        BadDataError: the scan has no contrast, or the model does not know the sequence.
    """
    import time

    import nibabel as nib
    import numpy as np
    import torch

    from bids_mmh.method.harmonizer import Harmonizer
    from bids_mmh.method.padding import BACKGROUND
    from bids_mmh.preprocess.images import save_nifti
    from bids_mmh.preprocess.scaling import intensity_scaling

    torch.set_num_threads(threads)
    place = choose_device(device)
    harmonizer = Harmonizer.from_pretrained(model, place)
    source = nib.Nifti1Image.from_filename(image)
    values = np.asarray(source.dataobj, dtype=np.float32)
    brain = np.asarray(nib.Nifti1Image.from_filename(mask).dataobj) > 0
    slope, intercept = intensity_scaling(values[brain])
    scaled = np.where(brain, values * np.float32(slope) + np.float32(intercept), np.float32(BACKGROUND))
    index = torch.tensor([harmonizer.sequence_index(sequence)], device=place)
    start = time.perf_counter()
    result = harmonizer(
        torch.from_numpy(scaled)[None, None].to(place), torch.from_numpy(brain)[None, None].to(place), index
    )
    seconds = time.perf_counter() - start
    header = source.header.copy()
    header.set_data_dtype(np.float32)
    save_nifti(nib.Nifti1Image(result[0, 0].cpu().numpy(), source.affine, header), out_file)
    return {
        "harmonized": str(out_file),
        "slope": slope,
        "intercept": intercept,
        "device": str(place),
        "seconds": round(seconds, 2),
    }


def choose_device(device: str) -> str:
    """Turn ``auto`` into ``cuda`` where there is a GPU, and check that an asked-for GPU exists.

    Raises:
        UsageError: CUDA was asked for and is not there.
    """
    import torch

    from bids_mmh.errors import UsageError

    available = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if available else "cpu"
    if device.startswith("cuda") and not available:
        raise UsageError(
            f"--device {device} was asked for, but no CUDA device is visible here: use cpu or auto."
        )
    return device
