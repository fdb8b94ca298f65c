from dataclasses import replace
from pathlib import Path

import pytest

from bids_mmh.errors import ExitCode
from bids_mmh.group.outcome import study_outcomes
from bids_mmh.participant.outcome import Outcome, Status
from bids_mmh.reports.group_table import ScanRow


@pytest.fixture
def row():
    return ScanRow(
        participant_id="sub-01",
        session_id=None,
        scan="sub-01_T1w",
        sequence="T1w",
        space="MNI",
        harmonized=True,
        site="a",
        page="sub-01.html",
    )


def test_scans_are_done_flagged_or_unusable(row):
    rows = [row, replace(row, warnings=("Look at it.",)), replace(row, problem="It has no site: mend it.")]
    done, flagged, failed = study_outcomes(rows, [], Path("/out"))
    assert (done.status, done.file) == (Status.DONE, Path("/out/sub-01.html"))
    assert (flagged.status, flagged.reason, flagged.code) == (Status.FLAGGED, "Look at it.", ExitCode.OK)
    assert (failed.status, failed.code) == (Status.FAILED, ExitCode.DATA)


def test_a_session_that_failed_is_not_listed_as_done(row):
    failed = Outcome("sub-01_ses-a", None, Status.FAILED, "It broke.", code=ExitCode.IO)
    rows = [replace(row, session_id="ses-a"), replace(row, session_id="ses-b")]
    first, second = study_outcomes(rows, [failed], Path("/out"))
    assert first is failed
    assert (second.session, second.status) == ("sub-01_ses-b", Status.DONE)
