import numpy as np
import pytest

from bids_mmh.evaluation.regional_volumes import BLOCKS, regional_grey_matter, regions
from bids_mmh.evaluation.tissues import GREY_MATTER, SUBCORTICAL_GREY, WHITE_MATTER
from bids_mmh.preprocess.grid import model_grid


@pytest.mark.parametrize("spacing", [4, 8])
def test_blocks_share_the_grey_matter_of_the_box(spacing):
    shape = model_grid(spacing).shape
    volumes = np.array(regional_grey_matter(np.full(shape, GREY_MATTER, np.uint8), (spacing,) * 3))
    assert volumes.shape == (np.prod(BLOCKS),)
    assert volumes.sum() == pytest.approx(np.prod(shape) * spacing**3 / 1000)
    assert volumes.min() > 0.5 * volumes.max()


def test_grey_matter_counts_where_it_lies():
    labels = np.zeros((16, 20, 20), np.uint8)
    labels[0, 0, 0], labels[-1, -1, -1], labels[-1, -1, -2] = WHITE_MATTER, GREY_MATTER, SUBCORTICAL_GREY
    volumes = np.array(regional_grey_matter(labels, (10, 10, 5)))
    assert np.flatnonzero(volumes).tolist() == [99]
    assert volumes[99] == 1.0


def test_blocks_at_the_border_are_no_regions():
    assert regions(np.array([[0.0, 1.9, 2.0, 9.0], [0.0, 1.9, 2.2, 9.0]])).tolist() == [
        False,
        False,
        True,
        True,
    ]
