import pytest
import torch

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.synthesis.anatomies import find_anatomies, load_anatomy
from bids_mmh.synthesis.lesions import lesion_map
from bids_mmh.synthesis.regions import Region
from bids_mmh.synthesis.relaxation import relaxation
from bids_mmh.synthesis.scanner import draw_scanner, signals
from bids_mmh.synthesis.study import simulate_study


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_a_study_follows_from_its_seed(anatomies):
    files = find_anatomies(anatomies)
    one, again, other = (simulate_study(files, "T1w", seed) for seed in (3, 3, 4))
    assert torch.equal(one.scans[1][2].image, again.scans[1][2].image)
    assert not torch.equal(one.scans[0][0].image, other.scans[0][0].image)


@pytest.mark.parametrize("sequence", ["T1w", "T2w"])
def test_scans_are_scaled_like_preprocessed_ones(anatomies, sequence):
    study = simulate_study(find_anatomies(anatomies), sequence, 1)
    assert len(study.scans) == 2
    assert all(len(seen) == 3 for seen in study.scans)
    for mask, seen in zip(study.masks, study.scans, strict=True):
        for scan in seen:
            assert (scan.image[~mask] == -1).all()
            low, high = torch.quantile(scan.image[mask], torch.tensor([0.01, 0.99]))
            assert float(low) == pytest.approx(-0.9, abs=0.02)
            assert float(high) == pytest.approx(0.9, abs=0.02)
            rest = (scan.image - scan.clean)[mask]
            assert rest.std() > 0  # what differs is noise: no scanner blurs or shades one of the two alone
            assert abs(float(torch.corrcoef(torch.stack([rest, scan.clean[mask]]))[0, 1])) < 0.5


def test_contrasts_are_those_of_their_sequences():
    """White matter is brightest on T1w and darkest on T2w, at nearly every scanner that is drawn."""
    right = {"T1w": 0, "T2w": 0}
    for sequence in right:
        for seed in range(40):
            signal = signals(draw_scanner(sequence, seeded(seed)), relaxation(3.0, seeded(seed)))
            fluid, grey, white = signal[[Region.CSF, Region.CORTEX, Region.WHITE]]
            right[sequence] += bool(fluid < grey < white if sequence == "T1w" else fluid > grey > white)
    assert right["T1w"] >= 34
    assert right["T2w"] >= 38


def test_lesions_lie_in_the_brain_and_not_in_everyone(anatomies):
    anatomy = load_anatomy(find_anatomies(anatomies)[0][0])
    maps = [lesion_map(anatomy, seeded(seed)) for seed in range(40)]
    hurt = [one for one in maps if one.any()]
    assert 8 <= len(hurt) <= 32
    assert all(not one[~anatomy.mask & (anatomy.region != Region.WHITE)].any() for one in hurt)
    assert all(one.max() <= 1 for one in hurt)


def test_held_out_anatomies_are_left_out(anatomies):
    assert [path.stem for kind in find_anatomies(anatomies, ["head0"]) for path in kind] == ["head1"]
    with pytest.raises(NoInputError, match="No anatomies"):
        find_anatomies(anatomies, ["head0", "head1"])


def test_a_damaged_anatomy_is_a_sentence(anatomies):
    (anatomies / "labels" / "head0.npz").write_bytes(b"nothing")
    with pytest.raises(BadDataError, match=r"head0\.npz is no prepared anatomy"):
        load_anatomy(anatomies / "labels" / "head0.npz")
