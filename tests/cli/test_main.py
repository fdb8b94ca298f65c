import errno
import subprocess
import sys
from pathlib import Path

import pytest

import bids_mmh.participant.run as participant
from bids_mmh.cli.main import main
from bids_mmh.errors import BadDataError, ExitCode

ROOT = Path(__file__).parents[2]


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    (folder / "sub-01" / "anat").mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"Name": "Test", "BIDSVersion": "1.10.0"}')
    return folder


def run(raw, tmp_path, *options, out="out", level="participant"):
    arguments = [str(raw), str(tmp_path / out), level, "--skip-bids-validation", "-w", str(tmp_path / "work")]
    return main([*arguments, *options])


def stand_in(monkeypatch, outcome):
    """Let the participant level return or raise ``outcome``; return the list of settings that it received."""
    seen = []

    def run_participant(settings, log_file):
        seen.append(settings)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(participant, "run_participant", run_participant)
    return seen


def test_the_level_runs_with_the_settings_and_its_code_is_returned(raw, tmp_path, monkeypatch):
    seen = stand_in(monkeypatch, ExitCode.DATA)
    assert run(raw, tmp_path, "--participant_label", "sub-01", "--sloppy") == 65
    assert (seen[0].participant_label, seen[0].sloppy) == (("01",), True)
    (copy,) = (tmp_path / "out" / "logs").glob("*.toml")
    assert copy.read_text() == seen[0].to_toml()


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (BadDataError("x.nii is broken: scan again."), 65, "bids-mmh: error: x.nii is broken: scan again."),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            OSError(errno.ENOSPC, "No space left", "/a/b"),
            74,
            "The disk is full or the quota exceeded at /a/b",
        ),
        (
            OSError(errno.EACCES, "Permission denied", "/a/b"),
            73,
            "/a/b cannot be opened (Permission denied)",
        ),
        (OSError(errno.EROFS, "Read-only", "/a/b"), 73, "/a/b cannot be opened (Read-only)"),
        (OSError(errno.EIO, "Input/output error", "/a/b"), 74, "Reading or writing /a/b failed"),
        (MemoryError(), 75, "memory"),
    ],
)
def test_errors_end_in_one_sentence_and_their_code(raw, tmp_path, monkeypatch, capfd, error, code, sentence):
    stand_in(monkeypatch, error)
    assert run(raw, tmp_path) == code
    message = capfd.readouterr().err
    assert sentence in message
    assert message.count("\n") == 1
    assert "Traceback" not in message


def test_an_unexpected_error_names_the_log_that_holds_its_traceback(raw, tmp_path, monkeypatch, capfd):
    stand_in(monkeypatch, ZeroDivisionError("oops"))
    assert run(raw, tmp_path) == 1
    message = capfd.readouterr().err
    (log,) = (tmp_path / "out" / "logs").glob("*.log")
    assert "ZeroDivisionError: oops" in message and "--debug" in message and str(log) in message
    assert "Traceback" not in message
    assert "Traceback" in log.read_text()


def test_debug_shows_the_traceback(raw, tmp_path, monkeypatch, capfd):
    stand_in(monkeypatch, BadDataError("x is broken."))
    assert run(raw, tmp_path, "--debug") == 65
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("out", "code", "sentence"),
    [
        ("raw", 73, "is the dataset itself"),
        ("link", 73, "is the dataset itself"),
        ("file", 73, "is a file"),
        ("file/below", 73, "cannot be written"),
        ("/proc/nowhere", 73, "cannot be written"),
    ],
)
def test_output_folders_that_cannot_be(raw, tmp_path, monkeypatch, capfd, out, code, sentence):
    seen = stand_in(monkeypatch, ExitCode.OK)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(raw)
    assert run(raw, tmp_path, out=out) == code
    assert sentence in capfd.readouterr().err
    assert not seen


def test_inputs_that_cannot_be(tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notbids" / "sub-01").mkdir(parents=True)
    for name, code in (("none", 66), ("empty", 66), ("notbids", 16)):
        arguments = [str(tmp_path / name), str(tmp_path / "out"), "participant", "-w", str(tmp_path / "work")]
        assert main(arguments) == code
        assert str(tmp_path / name) in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_group_does_not_look_at_the_raw_data_but_wants_results(tmp_path, capfd):
    assert run(tmp_path / "gone", tmp_path, level="group") == 66
    assert "run the participant level first" in capfd.readouterr().err


def test_group_needs_no_work_folder(tmp_path, monkeypatch):
    import bids_mmh.group.run as group

    monkeypatch.setattr(group, "run_group", lambda *_: ExitCode.OK)
    (tmp_path / "out").mkdir()
    arguments = [str(tmp_path / "gone"), str(tmp_path / "out"), "group", "--work-dir", "/proc/nowhere"]
    assert main(arguments) == 0


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option):
    code = (
        "import sys\nfrom bids_mmh.cli.main import main\n"
        f"try: main(['{option}'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'nipype', 'pandas', 'pydantic', 'numpy', 'bids', 'nibabel'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "bids-mmh" in finished.stdout


def test_run_py_is_the_same_program():
    finished = subprocess.run(
        [sys.executable, ROOT / "run.py", "raw", "out", "session"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 17
    assert "'session' is not an analysis level" in finished.stderr
