import pytest
import torch

from bids_mmh.brain_mask.network import RANGE_MM
from bids_mmh.synthesis.heads import read_head
from bids_mmh.training.brain_mask.random_scans import SIDE, KnownHead, draw_example


@pytest.fixture(scope="module")
def head(labels):
    return KnownHead.of(read_head(labels / "head01_dseg.nii.gz"))


def test_distance_is_negative_in_the_brain_and_a_millimetre_a_voxel(head):
    inside = head.distance[0, 0] < 0
    brain = torch.isin(head.labels, torch.tensor([2, 3, 24]))
    assert float((inside == brain).float().mean()) > 0.999
    centre = [round(float(c)) for c in head.centre]
    line = head.distance[0, 0, centre[0] :, centre[1], centre[2]]
    crossing = int((line < 0).sum())
    assert crossing == pytest.approx(44, abs=1)
    assert float(line[crossing + 3] - line[crossing]) == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("seed", range(6))
def test_a_scan_shows_the_brain_where_its_answer_says(head, seed):
    example = draw_example(head, torch.Generator().manual_seed(seed))
    assert example.scan.shape == example.distance.shape == example.weight.shape == (1, SIDE, SIDE, SIDE)
    assert float(example.scan.min()) >= 0
    assert float(example.scan.max()) == 1
    assert float(example.distance.abs().max()) <= RANGE_MM
    assert not example.scan[example.weight == 0].any()
    inside, outside = example.distance < 0, example.distance >= RANGE_MM
    assert 0 < int(inside.sum()) < SIDE**3 / 2
    # far outside is air, and whatever the contrast the brain is something else in nearly every scan
    assert abs(float(example.scan[inside].mean() - example.scan[outside].mean())) > 0.01


def test_the_same_generator_draws_the_same_scan(head):
    one, other = (draw_example(head, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one.scan, other.scan)
    assert not torch.equal(one.scan, draw_example(head, torch.Generator().manual_seed(4)).scan)
