import json
import os

import numpy as np
import pytest

from bids_mmh.derivatives.index import study_rows
from bids_mmh.evaluation.metrics.statistics import image_statistics

STATISTICS = image_statistics(np.linspace(-0.5, 0.5, 101)).to_dict()
NAME = "sub-1_acq-mprage_run-2_space-MNI_res-1_desc-harmonized_T1w.json"


@pytest.fixture
def write(tmp_path):
    def write(name, **changes):
        folder = tmp_path / name.split("_")[0] / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        content = {"ImageStatistics": {"before": STATISTICS, "after": STATISTICS}} | changes
        (folder / name).write_text(json.dumps(content))
        return tmp_path

    return write


def test_name_gives_the_scan_with_all_its_entities(write):
    (row,) = study_rows(write(NAME), ("T1w",))
    assert (row.participant_id, row.session_id) == ("sub-1", None)
    assert (row.scan, row.space, row.sequence) == ("sub-1_acq-mprage_run-2_T1w", "MNI", "T1w")
    assert row.harmonized


def test_sidecar_gives_the_rest(write):
    model = {"Name": "embedded", "SHA256": "a" * 64, "Target": "Y", "Encoder": {"Name": "slices"}}
    root = write(
        NAME, Site="X", Model=model, AnatomyPreservation=0.5, QualityWarnings=["One."], ConfigurationHash="c"
    )
    (row,) = study_rows(root, ("T1w",))
    assert (row.site, row.model, row.model_sha256) == ("X", "embedded", "a" * 64)
    assert (row.target, row.encoder) == ("Y", "slices")
    assert (row.anatomy_preservation, row.warnings, row.configuration_hash) == (0.5, ("One.",), "c")
    assert row.histogram_distance == 0.0
    assert row.before["mean"] == pytest.approx(0.0)


def test_odd_metadata_is_missing_not_fatal(write):
    root = write(NAME, Site="", Model="embedded", AnatomyPreservation="high", QualityWarnings="none")
    (row,) = study_rows(root, ("T1w",))
    assert (row.site, row.model, row.anatomy_preservation, row.warnings, row.problem) == (
        None,
        None,
        None,
        (),
        None,
    )


def test_number_that_browsers_cannot_read_is_missing(write):
    assert study_rows(write(NAME, AnatomyPreservation=float("nan")), ("T1w",))[0].anatomy_preservation is None


def test_runs_and_spaces_are_rows_of_their_own(write):
    write(NAME)
    write(NAME.replace("run-2", "run-1"))
    root = write(NAME.replace("space-MNI", "space-Other"))
    rows = study_rows(root, ("T1w",))
    assert [(row.scan[-9:], row.space) for row in rows] == [
        ("run-1_T1w", "MNI"),
        ("run-2_T1w", "MNI"),
        ("run-2_T1w", "Other"),
    ]


def test_other_sequences_are_left_out(write):
    root = write(NAME.replace("T1w", "FLAIR"))
    assert study_rows(root, ("T1w",)) == []
    assert len(study_rows(root, ("FLAIR",))) == 1


def test_newest_of_two_versions_counts(write):
    root = write(NAME.replace("res-1", "res-2"), Model={"Name": "new"})
    old = write(NAME, Model={"Name": "old"}) / "sub-1" / "anat" / NAME
    os.utime(old, (1, 1))
    (row,) = study_rows(root, ("T1w",))
    assert row.model == "new"
    assert row.sidecar == f"sub-1/anat/{NAME.replace('res-1', 'res-2')}"
