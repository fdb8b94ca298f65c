import numpy as np
import pytest

from bids_mmh.evaluation.controls.combat import COMBAT
from bids_mmh.evaluation.controls.methods import RAW
from bids_mmh.evaluation.metrics.similarity import Similarity
from bids_mmh.evaluation.study import MeasuredScan, summarise
from bids_mmh.evaluation.subject_metrics import HARMONIZED, PairSimilarity, ScanMetrics, SubjectMetrics

SITES = ("A", "B")


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    monkeypatch.setattr("bids_mmh.evaluation.probes.site_probe.PERMUTATIONS", 5)


def figures(features, bins, ratio, dice=0.9, size=1.0):
    blocks = np.arange(100)
    volumes = 0.4 * ratio * blocks * np.where(blocks % 2, size, 1)  # a site changes every other block
    return ScanMetrics(
        features=tuple(features),
        histogram=tuple(int(place == bins) for place in range(100)),
        grey_matter_ratio=ratio,
        regional_grey_matter=tuple(volumes * (1 + 0.02 * np.sin(blocks * (1 + features[0] % 10)))),
        dice={"GM": dice},
        volume={"GM": 0.95},
        anatomy=0.98,
        spread=0.4,
    )


@pytest.fixture
def study():
    """Twelve subjects, each at two sites: raw features tell the site, harmonized ones the age alone."""
    rng = np.random.default_rng(0)
    scans, subjects = [], []
    for number in range(12):
        age = 20.0 + 5 * number
        own = rng.normal(0, 0.1, 8)
        methods = {}
        for place, site in enumerate(SITES):
            brain = np.array([age / 10, *own[1:]])
            raw = figures(
                brain + 10 * place, 10 + 50 * place, 0.5 - age / 500 + 0.1 * rng.normal(), size=1 + place
            )
            done = figures(brain, 40, 0.5 - age / 500 + 0.001 * rng.normal(), dice=0.8)
            methods[site] = {RAW: raw, HARMONIZED: done}
            scans.append(MeasuredScan(f"sub-{number}_{site}", f"sub-{number}", site, age, methods[site]))
        near, far = Similarity(0.9 + 0.001 * number, 30.0, 0.9, 0.01), Similarity(0.8, 25.0, 0.9, 0.1)
        pair = PairSimilarity(f"sub-{number}_A", f"sub-{number}_B", {RAW: far, HARMONIZED: near})
        subjects.append(SubjectMetrics({}, (pair,)))
    return scans, subjects


def test_methods_stand_side_by_side(study):
    summary = summarise(*study)
    raw, done = summary.methods[RAW], summary.methods[HARMONIZED]
    assert list(summary.methods) == [RAW, HARMONIZED]
    assert summary.reasons == ()
    assert raw.likeness["ssim"].mean == pytest.approx(0.8)
    assert raw.likeness["ssim"].p is None
    assert done.likeness["ssim"].mean == pytest.approx(0.9055)
    assert done.likeness["ssim"].p < 0.001
    assert done.likeness["pcc"].p is None  # the same figures: nothing to test
    assert done.anatomy["dice_GM"].mean == pytest.approx(0.8)
    assert (raw.inter_site_wd, done.inter_site_wd) == (pytest.approx(0.5), 0)
    assert raw.probe.balanced_accuracy == 1
    assert done.probe.balanced_accuracy < 0.8
    assert done.age.mae < 0.5 * done.age.mae_of_mean
    assert done.grey_matter.after < -0.99 < done.grey_matter.before


def test_combat_stands_beside_the_methods_in_figures_of_volumes(study):
    volumes = summarise(*study).volumes
    assert list(volumes) == [RAW, COMBAT, HARMONIZED]
    assert volumes[RAW].probe.balanced_accuracy == 1
    assert volumes[COMBAT].probe.balanced_accuracy < 0.9
    assert volumes[RAW].grey_matter.before == volumes[COMBAT].grey_matter.before
    assert volumes[HARMONIZED].grey_matter.after < -0.99 < volumes[COMBAT].grey_matter.after < 0
    names = [scan.name for scan in study[0]]
    assert all(list(own.totals) == names for own in volumes.values())


def test_sex_is_a_covariate_of_combat_where_it_is_known(study):
    scans, people = study
    (without,) = summarise(scans, people).notes
    known = [scan._replace(sex="FM"[int(scan.subject[4:]) % 2]) for scan in scans]
    (note,) = summarise(known, people).notes
    assert "with age as covariates" in without
    assert "with age and sex as covariates" in note


def test_too_few_subjects_at_a_site_are_a_sentence_in_place_of_combat(study):
    scans, people = study
    left = [scan for scan in scans if scan.site == "A" or scan.subject in ("sub-0", "sub-1")]
    summary = summarise(left, people)
    assert COMBAT not in summary.volumes
    assert summary.notes == ()
    (reason,) = (sentence for sentence in summary.reasons if sentence.startswith("ComBat"))
    assert reason == "ComBat: It takes 3 subjects at each site, and there are fewer at B (2)."


def test_what_is_not_possible_says_why_once(study):
    scans, subjects = study
    few = [scan._replace(age=None) for scan in scans if scan.subject in ("sub-0", "sub-1")]
    summary = summarise(few, subjects[:2])
    assert summary.methods[HARMONIZED].probe is summary.methods[HARMONIZED].age is None
    assert list(summary.reasons) == [
        "Site classification: 2 subjects are too few to test a site classifier, which needs 4.",
        "Age regression: The age of 0 subjects is known: too few, 10 are needed.",
        "Grey matter against age: The age of 0 subjects is known: too few, 10 are needed.",
        "2 pairs are too few for a test against raw: it takes 6.",
        "ComBat: It takes 3 subjects at each site, and there are fewer at A (2), B (2).",
    ]


def test_method_that_is_missing_for_some_is_measured_on_the_others(study):
    scans, subjects = study
    partial = [
        scan._replace(methods={RAW: scan.methods[RAW]}) if scan.subject == "sub-0" else scan for scan in scans
    ]
    subjects[0] = SubjectMetrics({}, (PairSimilarity("a", "b", {RAW: subjects[0].pairs[0].methods[RAW]}),))
    summary = summarise(partial, subjects)
    assert summary.methods[HARMONIZED].likeness["ssim"].n == 11
    assert summary.methods[HARMONIZED].anatomy["anatomy"].n == 22
    assert summary.methods[RAW].anatomy["anatomy"].n == 24


def test_without_travelling_subjects_likeness_is_empty(study):
    assert summarise(study[0], []).methods[RAW].likeness == {}
