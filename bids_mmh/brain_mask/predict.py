"""Distance to the surface of the brain for a whole scan."""

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from bids_mmh.brain_mask.network import MULTIPLE, MaskNetwork, load_mask_network, normalised


def predict(scan: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the distance maps of a scan and of its mirror image with the weights of the package.

    Args:
        scan: as for :func:`brain_distance`.

    Returns:
        (2, H, W, D), that of the mirror image mirrored back.
    """
    with as_file(files("bids_mmh.resources") / "brain_mask" / "model.safetensors") as weights:
        network = load_mask_network(Path(weights))
    mirrored = brain_distance(network, np.ascontiguousarray(scan[::-1]))[::-1]
    return np.stack([brain_distance(network, scan), mirrored])


@torch.inference_mode()
def brain_distance(network: MaskNetwork, scan: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the distance map of a scan.

    Args:
        network: in evaluation mode.
        scan: (H, W, D) intensities of any range at 2 mm, axes close to RAS+.

    Returns:
        (H, W, D) distance to the surface of the brain in mm, negative inside.
    """
    values = normalised(torch.from_numpy(scan)[None, None])
    missing = [-side % MULTIPLE for side in scan.shape]
    padding = [amount for total in reversed(missing) for amount in (total // 2, total - total // 2)]
    distance = network(F.pad(values, padding))[0, 0]
    first = [total // 2 for total in missing]
    inner = tuple(slice(start, start + side) for start, side in zip(first, scan.shape, strict=True))
    return np.asarray(distance[inner].numpy())
