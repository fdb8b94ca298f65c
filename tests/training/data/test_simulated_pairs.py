import pytest
import torch

from bids_mmh.synthesis.anatomies import find_anatomies
from bids_mmh.training.data.simulated_pairs import SimulatedPairs


@pytest.fixture(scope="module")
def anatomies(write_anatomies, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "anatomies"
    return find_anatomies(write_anatomies(folder, {"head0": 0.95, "head1": 1.05}))


def pairs(anatomies, **settings):
    return SimulatedPairs(
        anatomies, ["T1w", "T2w"], 3, **{"accumulate": 2, "crop": 16, "crops": 2, **settings}
    )


def error(pair):
    return float((pair.image - pair.target)[pair.mask].square().mean())


def test_a_pair_follows_from_its_place_alone(anatomies):
    """Also when others were asked for before: a resumed training goes on as it would have."""
    one = pairs(anatomies)[3, 1]
    other = pairs(anatomies)
    for place in ((0, 0), (20, 1)):
        assert not torch.equal(other[place].image, one.image)
    again = other[3, 1]
    for name in ("image", "target", "mask", "gradient", "sequence"):
        assert torch.equal(getattr(again, name), getattr(one, name))


def test_studies_take_turns_in_their_sequence(anatomies):
    source = pairs(anatomies, subjects=2, scanners=2, crops=1)  # four pairs a study
    assert [int(source[step, 0].sequence) for step in range(6)] == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(("coarsening", "crop"), [(1, 16), (2, 8)])
def test_a_pair_is_on_the_grid_of_the_network(anatomies, coarsening, crop):
    pair = pairs(anatomies, coarsening=coarsening, crop=crop, unchanged=0.0)[0, 0]
    for volume in (pair.image, pair.target, pair.mask, pair.gradient):
        assert volume.shape == (1, 1, crop, crop, crop)
    assert pair.mask.float().mean() > 0.2
    assert (pair.image[~pair.mask] == -1).all()
    assert (pair.target[~pair.mask] == -1).all()
    assert 0 < error(pair) < 0.2  # what the landmark map left is there to be learnt


def test_styles_are_measured_on_the_grid_of_the_scans(anatomies):
    fine, coarse = (pairs(anatomies, coarsening=coarsening, unchanged=0.0)[1, 0] for coarsening in (1, 2))
    for name in ("own", "style", "seen"):
        one, other = (getattr(pair, name).by_tissue for pair in (fine, coarse))
        assert torch.equal(one.median, other.median)
        assert torch.equal(one.regional, other.regional)


def test_an_unchanged_style_has_nothing_to_learn(anatomies):
    pair = pairs(anatomies, unchanged=1.0)[0, 0]
    assert torch.equal(pair.target, pair.image)
    assert pair.style is pair.own


def test_the_noise_filter_is_the_models(anatomies):
    quiet, noisy = (pairs(anatomies, denoise=strength, unchanged=1.0)[0, 0] for strength in (1.0, 0.0))
    assert torch.equal(quiet.target, quiet.image)
    rough = [
        pair.image.diff(dim=-1)[pair.mask[..., 1:] & pair.mask[..., :-1]].abs().mean()
        for pair in (quiet, noisy)
    ]
    assert rough[0] < rough[1]
