import numpy as np
import pandas as pd
import pytest
from neuroCombat import neuroCombat

from bids_mmh.evaluation.controls.combat import combat_volumes, fit_site_effects

SITES = ("A", "B", "C")
PER_SITE = 15


@pytest.fixture
def study():
    """Thirty regions that shrink with age in 45 subjects at three sites; at B they are larger and noisier."""
    rng = np.random.default_rng(0)
    sites = np.repeat(SITES, PER_SITE)
    ages = rng.uniform(20, 80, len(sites))
    loss = rng.uniform(0.02, 0.06, 30)
    volumes = rng.uniform(8, 16, 30) - ages[:, None] * loss + rng.normal(0, 0.3, (len(sites), 30))
    shift = np.where(sites == "B", 2.0, 0.0)[:, None]
    noise = rng.normal(0, 0.6, volumes.shape) * (sites == "B")[:, None]
    subjects = [f"sub-{number}" for number in range(len(sites))]
    return volumes + shift + noise, list(sites), subjects, ages, loss


def slopes(volumes, ages):
    return np.polyfit(ages, volumes, 1)[0]


def at(sites, site):
    return np.array(sites) == site


def test_sites_go_and_age_stays(study):
    volumes, sites, subjects, ages, loss = study
    corrected, sentence = combat_volumes(volumes, sites, subjects, {"age": ages, "sex": [None] * len(ages)})
    residual = {"raw": volumes + ages[:, None] * loss, "ComBat": corrected + ages[:, None] * loss}
    gap = {
        name: np.abs(own[at(sites, "B")].mean(0) - own[~at(sites, "B")].mean(0)).mean()
        for name, own in residual.items()
    }
    assert gap["raw"] > 1.8
    assert gap["ComBat"] < 0.2
    assert residual["raw"][at(sites, "B")].std(0).mean() > 1.6 * residual["raw"][at(sites, "A")].std(0).mean()
    assert residual["ComBat"][at(sites, "B")].std(0).mean() == pytest.approx(
        residual["ComBat"][at(sites, "A")].std(0).mean(), rel=0.35
    )
    assert np.abs(slopes(corrected, ages) + loss).max() < 0.015
    assert "with age as covariates" in sentence


def test_age_that_goes_with_the_site_is_kept_only_if_it_is_known(study):
    volumes, sites, subjects, ages, loss = study
    older = np.where(at(sites, "B"), 40.0, 0.0)
    volumes, ages = volumes - older[:, None] * loss, ages + older
    known, _ = combat_volumes(volumes, sites, subjects, {"age": ages})
    unknown, sentence = combat_volumes(volumes, sites, subjects, {"age": [None] * len(ages)})
    assert slopes(known, ages).mean() == pytest.approx(-loss.mean(), rel=0.15)
    assert slopes(unknown, ages).mean() > 0.8 * slopes(known, ages).mean()  # nearer to none
    assert "without covariates" in sentence


def test_fit_and_removal_are_those_of_neurocombat(study):
    volumes, sites, _, ages, _ = study
    effects = fit_site_effects(volumes, sites, {"age": ages})
    scans = zip(volumes, sites, ages, strict=True)
    ours = np.array([effects.remove(own, site, {"age": age}) for own, site, age in scans])
    table = pd.DataFrame({"site": sites, "age": ages})
    theirs = neuroCombat(volumes.T, table, "site", continuous_cols=["age"])["data"].T
    np.testing.assert_allclose(ours, theirs)


def test_no_subject_is_corrected_by_a_fit_that_has_seen_it(study):
    """What is done to a subject's scans does not depend on them; what is done to the others does."""
    volumes, sites, subjects, ages, _ = study
    sites, subjects = [*sites, "A"], [*subjects, subjects[20]]  # who was at B, is now at A too
    volumes, ages = np.vstack([volumes, volumes[20] - 2]), np.append(ages, ages[20])
    own = np.array(subjects) == subjects[20]

    def corrected(step):
        return combat_volumes(volumes + step * own[:, None], sites, subjects, {"age": ages})[0]

    found = [corrected(step) for step in (0.0, 50.0, 100.0)]
    first, second = found[1] - found[0], found[2] - found[1]
    np.testing.assert_allclose(second[own], first[own])  # one straight line
    assert first[own].min() > 20
    assert np.abs(first[~own]).max() > 1


def test_covariate_that_goes_with_the_sites_is_left_out(study):
    volumes, sites, subjects, *_ = study
    male = at(sites, "B").astype(float)
    corrected, sentence = combat_volumes(volumes, sites, subjects, {"sex": male})
    np.testing.assert_array_equal(corrected, combat_volumes(volumes, sites, subjects, {})[0])
    assert "without covariates" in sentence


def test_covariate_that_one_subject_alone_tells_is_left_out_of_the_fit_without_it(study):
    volumes, sites, subjects, *_ = study
    male = (np.arange(len(sites)) == 3).astype(float)
    corrected, _ = combat_volumes(volumes, sites, subjects, {"sex": male})
    assert np.isfinite(corrected).all()
    np.testing.assert_array_equal(corrected[3], combat_volumes(volumes, sites, subjects, {})[0][3])


def test_unknown_ages_count_as_the_mean(study):
    volumes, sites, subjects, ages, _ = study
    gaps, filled = ages.copy(), ages.copy()
    gaps[3], filled[3] = np.nan, np.delete(ages, 3).mean()
    found = [combat_volumes(volumes, sites, subjects, {"age": own})[0] for own in (gaps, filled)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("sites", "subjects", "sentence"),
    [
        ("AAAA", "1234", "There is one site only, so there is nothing to remove."),
        ("AAABBB", "123455", "It takes 3 subjects at each site, and there are fewer at B (2)."),
    ],
)
def test_too_little_is_a_sentence(sites, subjects, sentence):
    volumes = np.random.default_rng(0).normal(10, 1, (len(sites), 5))
    assert combat_volumes(volumes, list(sites), list(subjects), {}) == (None, sentence)
