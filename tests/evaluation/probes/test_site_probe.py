import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.probes.site_probe import _accuracy, _shuffled, site_probe


def study(effect, subjects=6, sites=3, seed=0):
    """Travelling subjects; a subject's features are its own, a site adds an offset of size ``effect``."""
    rng = np.random.default_rng(seed)
    own, offset = rng.normal(0, 1, (subjects, 1, 20)), rng.normal(0, effect, (1, sites, 20))
    features = (own + offset + rng.normal(0, 0.3, (subjects, sites, 20))).reshape(-1, 20)
    labels = np.tile([f"site{s}" for s in range(sites)], subjects)
    return features, labels, np.repeat([f"sub-{n}" for n in range(subjects)], sites)


def test_a_site_effect_is_found_in_unseen_subjects():
    probe, sentence = site_probe(*study(3.0))
    assert probe.balanced_accuracy > 0.9 > probe.null_high
    assert (probe.chance, probe.scans, probe.subjects) == (pytest.approx(1 / 3), 18, 6)
    assert probe.p == pytest.approx(1 / 101)
    assert "18 scans of 6 subjects" in sentence


def test_without_a_site_effect_sites_are_not_told_apart():
    probe, _ = site_probe(*study(0.0, seed=1))
    assert probe.balanced_accuracy <= probe.null_high
    assert probe.p > 0.05


def test_subjects_who_stayed_are_no_clue_to_their_site():
    features, _, subject_ids = study(0.0, subjects=8, sites=4)
    sites = np.repeat(["a", "b"], 16)  # four scans of each subject, all at one site
    probe, _ = site_probe(features, sites, subject_ids)
    assert probe.p > 0.05


def test_shuffling_keeps_what_subjects_did():
    labels, subject_ids = np.array([0, 1, 0, 0, 1, 1, 0, 1]), np.array(list("aabbccdd"))
    for seed in range(20):
        out = _shuffled(labels, subject_ids, np.random.default_rng(seed))
        assert sorted(out[:2]) == sorted(out[6:]) == [0, 1]
        assert {tuple(out[2:4]), tuple(out[4:6])} == {(0, 0), (1, 1)}


@pytest.mark.parametrize(
    ("sites", "subject_ids", "reason"),
    [
        (["a"] * 6, ["1", "1", "2", "2", "3", "3"], "one site only"),
        (["a", "b"] * 3, ["1", "1", "2", "2", "3", "3"], "3 subjects are too few"),
        (["a", "a", "a", "a", "b", "b"], ["1", "2", "3", "4", "5", "5"], "Only one subject was at b"),
    ],
)
def test_too_little_says_why(sites, subject_ids, reason):
    probe, sentence = site_probe(np.zeros((6, 4)), sites, subject_ids)
    assert probe is None
    assert reason in sentence


def test_labels_of_other_scans_are_refused():
    with pytest.raises(BadDataError, match="do not label 2 scans"):
        site_probe(np.zeros((2, 4)), ["a"], ["1"])


def test_sites_of_very_few_scans_are_still_classified(monkeypatch):
    monkeypatch.setattr("bids_mmh.evaluation.probes.site_probe.PERMUTATIONS", 3)
    sites = ["A", "A", "A", "B", "B", "B"]
    features = np.array([[0, 0], [0, 1], [0, 2], [9, 0], [9, 1], [9, 2]])
    probe, _ = site_probe(features, sites, [f"sub-{n}" for n in range(6)])
    assert probe.balanced_accuracy == 1


def test_a_fold_that_knows_one_site_only_is_no_error(monkeypatch):
    monkeypatch.setattr("bids_mmh.evaluation.probes.site_probe.PERMUTATIONS", 2)
    folds = [([[0.0]] * 2, [[0.0]] * 2, [0, 1], [2, 3]), ([[0.0]] * 2, [[0.0]] * 2, [2, 3], [0, 1])]
    assert _accuracy(folds, np.array([0, 0, 1, 1])) == 0
