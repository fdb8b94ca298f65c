from pathlib import Path

import numpy as np
import pytest

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.training.data.scans import find_scans, load_on_grid
from bids_mmh.training.sweep.sweep_scans import choose_scans, read_scan, tuning_subjects


def scan(subject, site, sequence="T1w"):
    file = Path(f"{subject}_{site}_{sequence}.nii.gz")
    return DerivedScan(file, file, sequence, site, f"sub-{subject}", 1.0, 0.0)


STUDY = [scan(n, "a") for n in "123"] + [scan(n, "b") for n in "456"] + [scan("7", "a"), scan("7", "b")]


@pytest.fixture
def split(tmp_path):
    table = tmp_path / "m" / "training" / "split.tsv"
    table.parent.mkdir(parents=True)
    rows = ["participant_id\tsplit", "sub-1\ttrain", "sub-2\tvalidation", "sub-4\ttrain", "sub-7\ttest"]
    table.write_text("\n".join(rows) + "\n")
    return table


def test_test_subjects_and_strangers_do_not_choose(split, caplog):
    with caplog.at_level("INFO"):
        assert tuning_subjects(STUDY, split) == {"sub-1", "sub-2", "sub-4"}
    assert str(split) in caplog.text


def test_without_a_split_everybody_may_and_it_says_so(caplog):
    with caplog.at_level("INFO"):
        assert len(tuning_subjects(STUDY, None)) == 7
    assert "all subjects" in caplog.text


def test_subjects_may_be_named_but_not_those_for_testing(split):
    assert tuning_subjects(STUDY, split, ["1", "sub-5"]) == {"sub-1", "sub-5"}
    with pytest.raises(UsageError, match="sub-7 of --subjects is a test subject"):
        tuning_subjects(STUDY, split, ["7"])
    with pytest.raises(UsageError, match="sub-x of --subjects has no scan"):
        tuning_subjects(STUDY, split, ["x"])


def test_a_limit_takes_travellers_first_and_then_sites_in_turn():
    everybody = {one.subject for one in STUDY}
    chosen = [(one.subject, one.site) for one in choose_scans(STUDY, everybody, 5)]
    assert chosen == [("sub-7", "a"), ("sub-7", "b"), ("sub-1", "a"), ("sub-4", "b"), ("sub-2", "a")]
    assert len(choose_scans(STUDY, everybody)) == len(STUDY)


def test_a_sequence_of_one_site_is_left_out():
    scans = [*STUDY, scan("1", "a", "T2w"), scan("4", "n/a", "T2w")]
    assert {one.sequence for one in choose_scans(scans, {"sub-1", "sub-4"})} == {"T1w"}
    with pytest.raises(NoInputError, match="two known sites"):
        choose_scans(scans, {"sub-1", "sub-2"})


def test_a_scan_is_read_as_training_reads_it(derivatives, tiny):
    found = find_scans([derivatives], ["T1w"])[0]
    read = read_scan(found, tiny)
    volume = load_on_grid(found, tiny.shape)
    np.testing.assert_array_equal(read.preproc, volume)
    np.testing.assert_array_equal(read.mask, volume > -1)
    assert (read.subject, read.site, read.sequence) == ("sub-01", "alpha", "T1w")
