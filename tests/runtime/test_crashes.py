import re
from types import SimpleNamespace

import pytest
from nipype import Node, Workflow
from nipype.interfaces.utility import Function

from bids_mmh.errors import ExitCode
from bids_mmh.runtime.crashes import CrashFolder, explain
from bids_mmh.runtime.workflow_run import run_sessions


def bad_data():
    from bids_mmh.errors import BadDataError

    try:
        raise OSError("cause")
    except OSError as error:
        raise BadDataError("scan.nii.gz is damaged: copy it again.") from error


def no_memory():
    raise MemoryError


def disk_error():
    raise OSError(5, "Input/output error", "/data/x")


def a_bug():
    raise ZeroDivisionError("division by zero")


def killed():
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def fine():
    return 1


def session(*functions, n_procs):
    """A session ``sub_003`` with a node for each function; nodes that need all processes take turns."""
    workflow = Workflow("sub_003")
    workflow.add_nodes(
        [
            Node(Function(function=f, output_names=["out"]), f"{f.__name__}_t1w1", n_procs=n_procs)
            for f in functions
        ]
    )
    return workflow


def settings(folder, **changes):
    given = {
        "profile": False,
        "work_dir": folder / "work",
        "nipype_plugin_file": None,
        "nprocs": 1,
        "mem": None,
        "stop_on_first_crash": False,
        "device": "cpu",
    }
    return SimpleNamespace(**given | changes)


def run(folder, *functions, n_procs=1, **changes):
    seen = []
    failures = []
    run_sessions(
        [session(*functions, n_procs=n_procs)],
        settings(folder, **changes),
        crash_dir=folder / "crash",
        callbacks=[lambda node, status: seen.append((node.name, status))],
        ended=lambda name, failed: failures.extend(failed),
    )
    return failures, seen


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        (bad_data, ExitCode.DATA, r"scan\.nii\.gz is damaged: copy it again\.$"),
        (no_memory, ExitCode.TRY_AGAIN, "The memory was used up"),
        (disk_error, ExitCode.IO, r"Input/output error.*/data/x"),
        (a_bug, ExitCode.DATA, "ZeroDivisionError: division by zero.*report"),
    ],
)
def test_every_failure_is_one_sentence_with_its_code(tmp_path, function, code, words):
    (failure,), seen = run(tmp_path, function, fine)
    assert (failure.session, failure.node, failure.code) == ("sub_003", f"{function.__name__}_t1w1", code)
    assert failure.crash_file.is_file()
    assert "\n" not in failure.sentence
    assert re.search(words, failure.sentence)
    assert ("fine_t1w1", "end") in seen


def test_crash_files_of_earlier_runs_are_not_failures_of_this_one(tmp_path):
    assert len(run(tmp_path, a_bug)[0]) == 1
    assert run(tmp_path, fine)[0] == []
    assert len(list((tmp_path / "crash").iterdir())) == 1
    assert not CrashFolder(tmp_path / "crash").has_new()


def test_without_failures_no_folder_is_left(tmp_path):
    run(tmp_path, fine)
    assert not (tmp_path / "crash").exists()


@pytest.mark.timeout(120)
def test_a_killed_worker_fails_its_step_and_the_rest_goes_on(tmp_path):
    (failure,), seen = run(tmp_path, killed, fine, n_procs=2, nprocs=2, mem=0.001)
    assert (failure.node, failure.code) == ("killed_t1w1", ExitCode.TRY_AGAIN)
    assert "memory" in failure.sentence
    assert ("fine_t1w1", "end") in seen


@pytest.mark.parametrize(
    "reason", ["[Errno 28] No space left on device: '/w'", "[Errno 122] Disk quota exceeded"]
)
def test_a_full_disk_is_called_so(tmp_path, reason):
    sentence, code = explain("OSError", reason, tmp_path)
    assert sentence.startswith("The disk is full or the quota used up")
    assert code is ExitCode.IO


def failures_after(folder, text):
    crashes = CrashFolder(folder)
    (folder / "crash-1.txt").write_text(f"Node: bids_mmh.sub_003.write_t1w1\n{text}")
    return crashes.failures_of("sub_003")


def test_a_full_disk_is_named_where_the_next_file_is_not_found(tmp_path):
    text = "OSError: [Errno 28] No space left on device\n\nDuring\n\nFileNotFoundError: /w/result.pklz\n"
    (failure,) = failures_after(tmp_path, text)
    assert failure.code == ExitCode.IO
    assert "disk is full" in failure.sentence
    assert "/w/result.pklz" in failure.sentence


def test_a_crash_file_that_was_cut_off_blames_the_disk(tmp_path):
    (failure,) = failures_after(tmp_path, "Working directory: /w\n\nNode inputs:\n")
    assert failure.code == ExitCode.IO
    assert "the disk may be full" in failure.sentence
    assert "please report" not in failure.sentence
