import pytest

from bids_mmh.training.data import TrainingScan
from bids_mmh.training.split import split_subjects


def scans_of(subjects, each=2):
    return [
        TrainingScan(f"{s}{i}", "", "T1w", "", subject=f"sub-{s:02}", slope=1, intercept=0)
        for s in range(subjects)
        for i in range(each)
    ]


@pytest.mark.parametrize(
    ("subjects", "fraction", "held"), [(10, 0.2, 2), (10, 0.0, 1), (2, 0.9, 1), (1, 0.2, 0)]
)
def test_split_never_shares_a_subject(subjects, fraction, held):
    scans = scans_of(subjects)
    train, validation = split_subjects(scans, fraction, seed=1)
    assert len(validation) == held
    assert not train & validation
    assert train | validation == {scan.subject for scan in scans}


def test_split_depends_on_the_seed_alone():
    scans = scans_of(12)
    splits = {tuple(sorted(split_subjects(scans, 0.25, seed)[1])) for seed in range(6)}
    assert len(splits) > 1
    assert split_subjects(scans[::-1], 0.25, 3) == split_subjects(scans, 0.25, 3)
