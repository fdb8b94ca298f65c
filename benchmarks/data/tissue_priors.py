"""Make the prior maps of tissues that ship with the package.

``python benchmarks/data/tissue_priors.py ANATOMIES OUT.safetensors``

Fluid, grey and white matter are the ICBM 2009a maps that ship with nilearn, blurred; deep grey matter is the
mean of the prepared label maps in ANATOMIES/labels (``anatomies.py``) without those that the embedded model's
recipe holds out, blurred, and takes its share from the other three.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from nilearn import datasets
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.ndimage import affine_transform, gaussian_filter

from bids_mmh.method.linear import along_axes, gaussian
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.synthesis.anatomies import load_anatomy
from bids_mmh.synthesis.regions import DEEP_GREY
from bids_mmh.training.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "embedded.toml"
GRID = model_grid(1.0)
BLUR_MM = 2.0
MOST = 0.96  # no place is deep grey matter in everyone
CELL_MM = 4
PRIOR_BLUR_MM = 3.0
FLOOR = 0.02  # no tissue is impossible anywhere: the maps are averages of 152 brains


def main(argv: Sequence[str]) -> int:
    """Write the maps; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("anatomies", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(argv)
    fluid, grey, white = torch.from_numpy(icbm_maps())
    held_out = load_recipe(RECIPE).simulation.held_out
    files = [f for f in sorted(options.anatomies.glob("labels/*.npz")) if f.stem not in held_out]
    deep = torch.stack(
        [torch.isin(load_anatomy(f).region, torch.tensor([int(r) for r in DEEP_GREY])).float() for f in files]
    ).mean(0)
    deep = along_axes(deep[None, None], [gaussian(side, BLUR_MM) for side in deep.shape])[0, 0].clamp(0, MOST)
    maps = F.avg_pool3d(torch.stack([fluid, grey, torch.zeros_like(grey), white]) * (1 - deep), CELL_MM)
    maps[2] += F.avg_pool3d(deep[None], CELL_MM)[0]
    shares = (maps / maps.sum(0) * 255).round().to(torch.uint8)
    save_file({"priors": shares.contiguous()}, options.out)
    return 0


def icbm_maps() -> NDArray[np.float32]:
    """Probabilities of fluid, grey and white matter (3, *GRID.shape), sum 1.

    Blurred, because brains that were aligned linearly differ from the template's.
    """
    maps = []
    for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template):
        image = load(resolution=1)
        to_map = np.linalg.inv(image.affine) @ GRID.affine
        smooth = gaussian_filter(np.asarray(image.dataobj, dtype=np.float32), PRIOR_BLUR_MM)
        offset, shape = to_map[:3, 3], GRID.shape
        maps.append(affine_transform(smooth, np.diag(to_map)[:3], offset, output_shape=shape, order=1))
    grey, white = maps
    stack = np.stack([np.clip(1 - grey - white, 0, 1), grey, white]) + FLOOR
    return np.asarray(stack / stack.sum(axis=0), dtype=np.float32)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
