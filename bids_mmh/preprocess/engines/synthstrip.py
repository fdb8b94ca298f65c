"""Brain masks by SynthStrip: the network of ``nipreps-synthstrip`` with weights that the user provides.

Hoopes et al. (2022), SynthStrip: skull-stripping for any brain image, NeuroImage 260, 119474.
"""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_mmh.errors import BadDataError, NoInputError, UsageError
from bids_mmh.preprocess.engines.own_process import run_apart
from bids_mmh.preprocess.images import corners, image_like, to_array
from bids_mmh.preprocess.steps.brain import largest_component, plausible

if TYPE_CHECKING:
    import SimpleITK

WEIGHTS_VARIABLE = "BIDS_MMH_SYNTHSTRIP"
HOW_TO_GET = (
    "get synthstrip.1.pt from https://surfer.nmr.mgh.harvard.edu/docs/synthstrip (or models/ of FreeSurfer "
    f"7.3 or later), give its path by --synthstrip-weights or {WEIGHTS_VARIABLE}, or use "
    "--preproc-engine builtin"
)
# The network was trained on 1 mm voxels in LIA order; its six pooling layers need multiples of 64.
ORDER, MULTIPLE, SMALLEST, LARGEST = "LIA", 64, 192, 320
# It predicts the distance to the brain's surface in mm, negative inside: its authors cut at 1 mm.
BORDER_MM = 1.0
FAR_MM = 100.0

_SCRIPT = """
import sys
import numpy as np, torch
from nipreps.synthstrip.model import StripModel
source, target, weights, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
model = StripModel()
model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True)["model_state_dict"])
with torch.inference_mode():
    np.save(target, model.eval()(torch.from_numpy(np.load(source))[None, None])[0, 0].numpy())
"""


def check_weights(weights: Path | None) -> Path:
    """Check that SynthStrip and its weights exist, before hours of work.

    Args:
        weights: File of weights, or None.

    Returns:
        The path of the weights.

    Raises:
        UsageError: If none are set, or ``nipreps-synthstrip`` is not installed.
        NoInputError: If the file does not exist.
        BadDataError: If it does not hold weights.
    """
    from importlib.util import find_spec

    if weights is None:
        raise UsageError(f"--preproc-engine synthstrip needs SynthStrip's weights: {HOW_TO_GET}.")
    if not weights.is_file():
        raise NoInputError(f"SynthStrip's weights {weights} do not exist: {HOW_TO_GET}.")
    if not zipfile.is_zipfile(weights):
        raise BadDataError(f"{weights} does not hold SynthStrip's weights: {HOW_TO_GET}.")
    if find_spec("nipreps") is None or find_spec("nipreps.synthstrip") is None:
        raise UsageError("--preproc-engine synthstrip needs a package: pip install nipreps-synthstrip.")
    return weights


def synthstrip_mask(
    image: "SimpleITK.Image", work_dir: Path, threads: int = 1, *, weights: Path
) -> "SimpleITK.Image":
    """Extract the brain of a head of any contrast with SynthStrip.

    Args:
        image: RAS working image.
        work_dir: Folder for temporary files.
        threads: Number of CPU threads.
        weights: PyTorch file with ``model_state_dict`` (``synthstrip.1.pt``); nothing in it is executed.

    Returns:
        uint8 mask on the voxels of ``image``: the largest component, holes filled.

    Raises:
        BadDataError: If the weights do not fit the network, or the brain has no plausible volume.
    """
    import SimpleITK

    conformed = conform(image)
    source, target = work_dir / "synthstrip_in.npy", work_dir / "synthstrip_out.npy"
    np.save(source, normalised(to_array(conformed)))
    _run(source, target, weights, threads)
    distance = image_like(np.load(target), conformed)
    source.unlink()
    target.unlink()
    on_scan = SimpleITK.Resample(distance, image, SimpleITK.Transform(), SimpleITK.sitkLinear, FAR_MM)
    return plausible(image_like(largest_component(to_array(on_scan) < BORDER_MM), image), "SynthStrip")


def conform(image: "SimpleITK.Image") -> "SimpleITK.Image":
    """Resample an image linearly to the input of the network: 1 mm, LIA, 192 to 320 voxels along each axis.

    Args:
        image: Image of any geometry.

    Returns:
        The conformed image.
    """
    import SimpleITK

    direction = _direction(ORDER)
    outer = corners(image)
    extent = np.abs(direction.T) @ np.ptp(outer, axis=0) + 1
    shape = np.clip(np.ceil(extent / MULTIPLE) * MULTIPLE, SMALLEST, LARGEST).astype(int)
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetSize(shape.tolist())
    resampler.SetOutputSpacing((1.0, 1.0, 1.0))
    resampler.SetOutputDirection(direction.ravel().tolist())
    resampler.SetOutputOrigin((outer.mean(axis=0) - direction @ ((shape - 1) / 2)).tolist())
    resampler.SetInterpolator(SimpleITK.sitkLinear)
    resampler.SetDefaultPixelValue(float(to_array(image).min()))
    return resampler.Execute(image)


def normalised(values: np.ndarray) -> np.ndarray:
    """Normalise intensities to [0, 1]: the minimum to 0, the 99th percentile and above to 1.

    Args:
        values: Intensities, any shape.

    Returns:
        float32 array of the same shape.

    Examples:
        >>> normalised(np.array([-1.0, 0.0, 3.0])).round(2).tolist()
        [0.0, 0.25, 1.0]
    """
    above = values.astype(np.float32) - np.float32(values.min())
    return np.clip(above / max(float(np.percentile(above, 99)), 1e-6), 0, 1)


def _direction(order: str) -> np.ndarray:
    """Direction cosines in LPS of the axis order ``order``, columns are axes."""
    towards = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1)}
    towards["I"] = (0, 0, -1)
    return np.array([towards[letter] for letter in order], dtype=float).T


def _run(source: Path, target: Path, weights: Path, threads: int) -> None:
    arguments = [str(source), str(target), str(weights), str(threads)]
    last = run_apart(_SCRIPT, arguments, result=target, threads=threads)
    if last is not None:
        raise BadDataError(f"SynthStrip could not run with {weights} ({last}): check the weights.")
