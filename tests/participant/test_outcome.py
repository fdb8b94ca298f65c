"""What came of each scan, and the summary and exit code that follow from it."""

import csv
import logging
from types import SimpleNamespace

import pytest

from bids_mmh.derivatives.sidecar import Sidecar
from bids_mmh.errors import ExitCode
from bids_mmh.participant.outcome import Outcome, Status, session_outcomes, without_site
from bids_mmh.participant.summary import conclude
from bids_mmh.runtime.crashes import Failure


def session(folder, *, done=(), warnings=(), page=True, problem=None):
    """A stand-in of a session with a T1w, its anchor, and a T2w; ``done``: sequences with results."""
    raw = {sequence: folder / f"sub-01_{sequence}.nii.gz" for sequence in ("T1w", "T2w")}
    scans = []
    for sequence, path in raw.items():
        sidecar = folder / f"{sequence}.json"
        Sidecar(quality_warnings=tuple(warnings)).write(sidecar, "mni_preproc")
        scans.append(
            SimpleNamespace(
                scan=SimpleNamespace(path=path, sequence=sequence, problem=problem),
                anchor=SimpleNamespace(path=raw["T1w"], sequence="T1w"),
                model=None,
                is_done=lambda sequence=sequence: sequence in done,
                sidecar=lambda _, sidecar=sidecar: sidecar,
            )
        )
    if page:
        (folder / "sub-01.html").touch()
    return SimpleNamespace(
        node_name="sub_01",
        session=SimpleNamespace(label="sub-01"),
        scans=scans,
        keys={raw["T1w"]: "t1w1", raw["T2w"]: "t2w2"},
        page=folder / "sub-01.html",
        settings=SimpleNamespace(output_dir=folder),
    )


def failure(folder, node, sentence="It broke: mend it.", code=ExitCode.DATA):
    return Failure("sub_01", node, sentence, code, folder / "logs" / "crash" / "crash-1.txt")


def statuses(outcomes):
    return [(outcome.scan, outcome.status.value, outcome.code) for outcome in outcomes]


def test_scans_that_are_done_or_flagged(tmp_path):
    job = session(tmp_path, done=("T1w", "T2w"))
    assert statuses(session_outcomes(job, ())) == [
        ("sub-01_T1w.nii.gz", "done", 0),
        ("sub-01_T2w.nii.gz", "done", 0),
    ]
    flagged = session_outcomes(session(tmp_path, done=("T1w", "T2w"), warnings=["Look.", "Twice."]), ())
    assert [(one.status, one.reason, one.file) for one in flagged] == [
        (Status.FLAGGED, "Look. Twice.", tmp_path / "sub-01.html")
    ] * 2


def test_what_failed_and_what_could_not_be_done_without_it(tmp_path):
    job = session(tmp_path)
    t1w, t2w = session_outcomes(job, [failure(tmp_path, "load_t1w1")])
    assert (t1w.status, t1w.reason, t1w.file.name) == (Status.FAILED, "It broke: mend it.", "crash-1.txt")
    assert t2w.status == Status.FAILED
    assert "sub-01_T2w.nii.gz was not processed because" in t2w.reason
    assert "--sequences T2w" in t2w.reason
    job = session(tmp_path, done=("T1w",))
    t1w, t2w = session_outcomes(job, [failure(tmp_path, "bias_t2w2"), failure(tmp_path, "check_t2w2")])
    assert (t1w.status, t2w.status, t2w.reason) == (Status.DONE, Status.FAILED, "It broke: mend it.")


def test_a_page_that_failed_or_was_not_reached(tmp_path):
    everything = ("T1w", "T2w")
    job = session(tmp_path, done=everything, page=False)
    page = session_outcomes(job, [failure(tmp_path, "page", code=ExitCode.IO)])[-1]
    assert (page.scan, page.status, page.code) == (None, Status.FAILED, ExitCode.IO)
    page = session_outcomes(job, ())[-1]
    assert (page.scan, page.status, page.code) == (None, Status.UNFINISHED, ExitCode.TRY_AGAIN)
    assert [one.status for one in session_outcomes(session(tmp_path), ())] == [Status.UNFINISHED] * 2


def rows(folder):
    with (folder / "logs" / "now_summary.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_the_summary_is_a_table_lines_and_a_code_that_agree(tmp_path, caplog):
    job = session(tmp_path, done=("T2w",))
    outcomes = session_outcomes(job, [failure(tmp_path, "harmonize_t1w1", 'It "broke".\nMend\tit.')])
    with caplog.at_level(logging.INFO):
        assert conclude(outcomes, tmp_path, tmp_path / "logs" / "now.log") == ExitCode.DATA
    first, second = rows(tmp_path)
    assert first == {
        "session": "sub-01",
        "scan": "sub-01_T1w.nii.gz",
        "status": "failed",
        "reason": 'It "broke". Mend it.',
        "file": "logs/crash/crash-1.txt",
    }
    assert (second["status"], second["reason"], second["file"]) == ("done", "n/a", "sub-01.html")
    assert "0 of 1 sessions done; of their scans 1 done, 1 failed." in caplog.text
    assert "See logs/crash/crash-1.txt." in caplog.text
    assert "now_summary.tsv" in caplog.text


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.SKIPPED, ExitCode.OK),
        (Status.FLAGGED, ExitCode.OK),
        (Status.UNFINISHED, ExitCode.TRY_AGAIN),
        (Status.FAILED, ExitCode.IO),
    ],
)
def test_only_what_is_flagged_or_done_is_a_success(tmp_path, status, code):
    outcomes = [Outcome("sub-01", "sub-01_T1w.nii.gz", status, "Why.", code=code)]
    assert conclude(outcomes, tmp_path, None) == code


def test_a_scan_without_a_site_is_done_and_flagged_and_no_success(tmp_path, caplog):
    job = session(tmp_path, done=("T1w", "T2w"), problem="sub-01_T1w.json is not valid JSON: mend it.")
    outcomes = [*without_site(session_outcomes(job, ()), [job])]
    with caplog.at_level(logging.INFO):
        assert conclude(outcomes, tmp_path, tmp_path / "logs" / "now.log") == ExitCode.DATA
    assert "1 of 1 sessions done" in caplog.text
    assert {row["status"] for row in rows(tmp_path)} == {"flagged"}
    assert "is not valid JSON" in rows(tmp_path)[0]["reason"]


def test_a_large_study_does_not_flood_the_terminal(tmp_path, caplog):
    outcomes = [Outcome("s", f"{n}.nii.gz", Status.FAILED, "Why.", code=ExitCode.DATA) for n in range(500)]
    with caplog.at_level(logging.INFO):
        conclude(outcomes, tmp_path, tmp_path / "logs" / "now.log")
    assert len(caplog.messages) < 20
    assert "490 more" in caplog.text
    assert len(rows(tmp_path)) == 500
