from collections import Counter
from dataclasses import dataclass

from bids_mmh.evaluation.cohort import MOST_PAIRS, choose_cohort, draw, subject_pairs


@dataclass(frozen=True)
class Visit:
    subject: str
    site: str


def study(travellers=4, residents=40, sites=4):
    names = [f"site{n}" for n in range(sites)]
    return [Visit(f"sub-t{n}", site) for n in range(travellers) for site in names] + [
        Visit(f"sub-r{n}", names[n % sites]) for n in range(residents)
    ]


def test_whoever_a_model_was_trained_on_is_never_measured():
    trained = {"sub-r0", "sub-t1", "sub-elsewhere"}
    cohort = choose_cohort(study(), trained, 0)
    assert not trained & {scan.subject for scan in cohort.scans}
    assert cohort.trained_on == 2
    assert cohort.travellers == {"sub-t0", "sub-t2", "sub-t3"}
    assert cohort.sampled_from == len(cohort.scans) == 3 * 4 + 39


def test_cap_keeps_whole_subjects_half_of_the_scans_of_travellers_and_sites_in_balance():
    cohort = choose_cohort(study(), (), 24)
    assert len(cohort.scans) == 24
    assert cohort.sampled_from == 56
    counts = Counter(scan.subject for scan in cohort.scans)
    assert all(counts[subject] == 4 for subject in cohort.travellers)
    assert len(cohort.travellers) == 3
    residents = Counter(s.site for s in cohort.scans if s.subject not in cohort.travellers)
    assert set(residents.values()) == {3}


def test_travellers_fill_up_where_there_is_nobody_else():
    assert len(choose_cohort(study(residents=0), (), 12).scans) == 12


def test_sample_hardly_moves_when_subjects_join():
    before = {s.subject for s in choose_cohort(study(), (), 24).scans}
    after = {s.subject for s in choose_cohort(study(residents=41), (), 24).scans}
    assert len(before - after) <= 1


def test_seed_decides_the_draw():
    names = [f"sub-{n}" for n in range(50)]
    assert draw(names) == draw(reversed(names)) != draw(names, 1)


def test_pairs_towards_a_target_and_among_sites():
    own = [Visit("sub-1", site) for site in ("a", "b", "b", "c")]
    assert [(x.site, y.site) for x, y in subject_pairs(own, "c")] == [("a", "c"), ("b", "c"), ("b", "c")]
    assert [(x.site, y.site) for x, y in subject_pairs(own, None)] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert subject_pairs(own, "elsewhere") == []


def test_many_sites_do_not_make_many_pairs():
    own = [Visit("sub-1", f"site{n}") for n in range(20)]
    pairs = subject_pairs(own, None)
    assert len(pairs) == len(set(pairs)) == MOST_PAIRS
