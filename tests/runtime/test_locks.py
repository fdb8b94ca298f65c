import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bids_mmh.errors import TryAgainError
from bids_mmh.runtime.locks import file_lock, session_lock, shared_lock
from bids_mmh.runtime.work_folder import IN_USE, clean_session, clean_shared_files


def test_a_lock_is_held_once_and_leaves_nothing(tmp_path):
    path = tmp_path / "folder" / "x.lock"
    with file_lock(path), pytest.raises(TryAgainError, match="Another run"), file_lock(path):
        pass
    assert not path.exists()
    with file_lock(path):
        assert path.exists()


def test_a_process_that_dies_holds_nothing(tmp_path):
    path = tmp_path / "x.lock"
    code = (
        "import os, pathlib, sys\nfrom bids_mmh.runtime.locks import file_lock\n"
        "with file_lock(pathlib.Path(sys.argv[1])): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60).returncode == 9
    assert path.exists()
    with file_lock(path):
        pass


def job(folder, name, out="out", work="work"):
    return SimpleNamespace(
        node_name=name, settings=SimpleNamespace(output_dir=folder / out, work_dir=folder / work)
    )


def test_sessions_are_locked_by_output_and_by_work_folder(tmp_path):
    first, second = job(tmp_path, "sub_1"), job(tmp_path, "sub_2")
    same_out, same_work = job(tmp_path, "sub_1", work="w2"), job(tmp_path, "sub_1", out="o2")
    with session_lock(first), session_lock(second):
        for other in (same_out, same_work):
            with pytest.raises(TryAgainError), session_lock(other):
                pass
    with session_lock(same_out):  # what failed to be locked has left nothing locked
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture
def work(tmp_path):
    for name in ("bids_mmh/sub_1/n4/x.nrrd", "bids_mmh/sub_2/n4/x.nrrd", "templates/mask.nii.gz"):
        path: Path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def clean(work, sessions):
    for session in sessions:
        clean_session(work, session)
    clean_shared_files(work)


def test_cleaning_spares_the_user_s_files_and_other_sessions(work):
    (work / "thesis.tex").touch()
    clean(work, ["sub_1"])
    assert sorted(p.name for p in (work / "bids_mmh").iterdir()) == ["sub_2"]
    assert (work / "templates").is_dir()
    clean(work, ["sub_2"])
    assert [p.name for p in work.iterdir()] == ["thesis.tex"]


def test_cleaning_removes_an_empty_work_folder(work):
    clean(work, ["sub_1", "sub_2"])
    assert not work.exists()


def test_what_all_share_stays_while_another_run_uses_it(work):
    with shared_lock(work / IN_USE), shared_lock(work / IN_USE):
        clean(work, ["sub_1", "sub_2"])
        assert (work / "templates").is_dir()
    clean(work, [])
    assert not work.exists()


def test_a_shared_lock_finds_its_folder_again(tmp_path):
    for _ in range(2):
        with shared_lock(tmp_path / "work" / IN_USE):
            pass
        clean_shared_files(tmp_path / "work")
        assert not (tmp_path / "work").exists()
