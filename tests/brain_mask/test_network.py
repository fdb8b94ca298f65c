import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bids_mmh.brain_mask.network import (
    MULTIPLE,
    RANGE_MM,
    MaskNetwork,
    load_mask_network,
    normalised,
    save_mask_network,
)
from bids_mmh.brain_mask.predict import brain_distance


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MaskNetwork().eval()


def test_a_distance_for_every_voxel_and_none_beyond_its_range(network):
    scan = torch.rand(2, 1, MULTIPLE, 2 * MULTIPLE, MULTIPLE)
    with torch.no_grad():
        found = network(1000 * scan)
    assert found.shape == scan.shape
    assert float(found.abs().max()) <= RANGE_MM


def test_a_scan_of_any_size_and_unit_has_the_same_answer(network):
    scan = np.random.default_rng(0).uniform(0, 1, (37, 64, 41)).astype(np.float32)
    found = brain_distance(network, scan)
    assert found.shape == scan.shape
    np.testing.assert_allclose(brain_distance(network, 40 * scan + 7), found, atol=1e-3)


def test_intensities_end_at_their_99th_percentile():
    scan = torch.arange(1001.0).view(1, 7, 11, 13)
    values = normalised(scan - 300)
    assert (float(values.min()), float(values.max())) == (0.0, 1.0)
    assert int((values == 1).sum()) == 11
    assert not normalised(torch.full((1, 4, 4, 4), 3.0)).any()


def test_weights_are_kept_in_half_precision(network, tmp_path):
    save_mask_network(network.state_dict(), tmp_path / "model.safetensors")
    assert {value.dtype for value in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}
    again = load_mask_network(tmp_path / "model.safetensors")
    scan = torch.rand(1, 1, MULTIPLE, MULTIPLE, MULTIPLE)
    with torch.no_grad():
        torch.testing.assert_close(again(scan), network(scan), atol=0.05, rtol=0)
    assert not again.training
