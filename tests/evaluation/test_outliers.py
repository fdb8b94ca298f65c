from dataclasses import dataclass, field

import numpy as np
import pytest

from bids_mmh.evaluation.outliers import EXCLUDE, LOOK, REPEAT, find_outliers, robust_z


@dataclass
class Scan:
    site_label: str = "A"
    before: dict | None = None
    after: dict | None = None
    anatomy_preservation: float | None = 0.98
    warnings: tuple = ()
    problem: str | None = None


@dataclass
class Study:
    scans: list = field(default_factory=list)

    def __post_init__(self):
        rng = np.random.default_rng(0)
        for site, centre in (("A", -0.3), ("B", 0.3)):
            for _ in range(20):
                statistics = {
                    "mean": rng.normal(centre, 0.03),
                    "std": rng.normal(0.4, 0.02),
                    "p01": rng.normal(-0.9, 0.02),
                    "p99": rng.normal(0.9, 0.02),
                    "voxels": rng.normal(1.6e6, 2e4),
                }
                after = {**statistics, "mean": rng.normal(0, 1e-4)}
                self.scans.append(Scan(site, statistics, after, rng.normal(0.98, 0.002)))


@pytest.fixture
def scans():
    return Study().scans


def test_ordinary_study_has_no_outliers(scans):
    assert find_outliers(scans) == {}


def test_scan_is_compared_with_its_own_site(scans):
    scans[3].before["mean"] = 0.3  # ordinary at site B
    (place, verdict), *others = find_outliers(scans).items()
    assert (place, others, verdict.suggestion) == (3, [], LOOK)
    assert "Mean intensity before harmonization is 0.30, that of site A -0.29" in verdict.reasons[0]


def test_differences_of_thousandths_are_none(scans):
    scans[3].after["mean"] = 0.05  # 500 times the spread of the site, but next to nothing
    assert find_outliers(scans) == {}


def test_two_kinds_of_reasons_suggest_exclusion(scans):
    scans[5].before["voxels"] *= 0.8
    assert find_outliers(scans)[5].suggestion == LOOK
    assert "differs by -18% from the usual size" in find_outliers(scans)[5].reasons[0]
    scans[5].after["std"] = 0.9
    assert find_outliers(scans)[5].suggestion == EXCLUDE
    assert len(find_outliers(scans)[5].reasons) == 2


@pytest.mark.parametrize(("anatomy", "suggestion"), [(0.95, LOOK), (0.85, LOOK), (0.5, EXCLUDE)])
def test_lost_anatomy_is_found(scans, anatomy, suggestion):
    scans[30].anatomy_preservation = anatomy
    verdict = find_outliers(scans)[30]
    assert verdict.suggestion == suggestion
    assert len(verdict.reasons) == 1


def test_warnings_and_problems_are_reasons(scans):
    scans[1].warnings = ("The brain mask measures 700 ml.",)
    scans[2] = Scan("A", None, None, None, (), "It cannot be used.")
    found = find_outliers(scans)
    assert {place: verdict.suggestion for place, verdict in found.items()} == {1: LOOK, 2: REPEAT}
    assert found[2].reasons == ("It cannot be used.",)


def test_small_sites_are_compared_with_the_study_and_small_studies_not_at_all(scans):
    few = [Scan("C", dict(scans[0].before), None, 0.98) for _ in range(2)]
    few[0].before["p99"] = 5.0
    found = find_outliers([*scans, *few])
    assert list(found) == [40]
    assert "that of the study" in found[40].reasons[0]
    assert find_outliers(few) == {}


def test_robust_z_is_not_moved_by_the_outlier():
    z = robust_z([0, 1, 2, 3, 4, 1000, np.nan], 0.1)
    assert z[5] > 100
    assert abs(z[:5]).max() < 2
    assert np.isnan(z[6])
