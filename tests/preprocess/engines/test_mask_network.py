import sys
from types import SimpleNamespace

import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.phantom.head.grid import smooth_noise
from bids_mmh.preprocess.engines import mask_network, own_process
from bids_mmh.preprocess.engines.mask_network import network_mask
from bids_mmh.preprocess.images import to_array, to_sitk


@pytest.fixture(scope="module")
def head():
    """A brain of 1 l with folds, in fluid, bone and skin, at 2.5 x 2 x 3 mm; the image and the true brain."""
    voxel = np.array([2.5, 2.0, 3.0])
    shape = (80, 110, 70)
    places = np.indices(shape).T * voxel - voxel * np.array(shape) / 2
    radius = np.sqrt((places.T[0] / 66) ** 2 + (places.T[1] / 78) ** 2 + (places.T[2] / 60) ** 2)
    rng = np.random.default_rng(0)
    folds = smooth_noise(rng, shape, 6.0) > 0
    tissue = np.where(folds & (radius > 0.6), 500, 800)
    image = np.select(
        [radius < 0.95, radius < 1.0, radius < 1.08, radius < 1.2], [tissue, 150, 50, 900], default=0
    )
    noisy = np.abs(image + rng.normal(0, 20, shape)).astype(np.float32)
    return to_sitk(noisy, np.diag([*voxel, 1.0])), radius < 1.0


def test_the_brain_of_a_head_is_found(head, tmp_path):
    image, truth = head
    mask, agreement = network_mask(image, tmp_path)
    found = to_array(mask) > 0
    assert mask.GetSpacing() == image.GetSpacing()
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.93
    assert agreement > 0.95
    assert not list(tmp_path.iterdir())


def test_a_process_that_has_torch_finds_the_same_brain_itself(head, tmp_path, monkeypatch):
    import torch

    image, _ = head
    threads = torch.get_num_threads()
    monkeypatch.setattr(own_process.subprocess, "run", lambda *_, **__: pytest.fail("another process"))
    here = network_mask(image, tmp_path)
    assert torch.get_num_threads() == threads
    monkeypatch.undo()
    monkeypatch.delitem(sys.modules, "torch")
    there = network_mask(image, tmp_path)
    assert (to_array(here[0]) == to_array(there[0])).all()
    assert here[1] == there[1]


def test_what_it_does_not_find_is_said_in_a_sentence(head, tmp_path, monkeypatch):
    image, _ = head
    with monkeypatch.context() as patch:
        patch.setattr(mask_network, "_distances", lambda scan, *_: np.full((2, *scan.shape), 5.0, np.float32))
        with pytest.raises(BadDataError, match="brain mask network found measures 0 ml"):
            network_mask(image, tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    failed = SimpleNamespace(returncode=1, stderr="Traceback\nMemoryError: too much\n")
    monkeypatch.setattr(own_process.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(BadDataError, match="brain mask network: MemoryError: too much"):
        network_mask(image, tmp_path)
