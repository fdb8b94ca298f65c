"""Removing what a run left in its work folder, and nothing else."""

import shutil
from contextlib import suppress
from pathlib import Path

from bids_mmh.errors import TryAgainError
from bids_mmh.runtime.locks import file_lock

GRAPH, TEMPLATES, IN_USE = "bids_mmh", "templates", ".in-use.lock"


def clean_session(work_dir: Path, session: str) -> None:
    """Remove the work files of a session.

    Args:
        work_dir: work folder of the run.
        session: node name of the session, which no other run may be working on.
    """
    shutil.rmtree(work_dir / GRAPH / session, ignore_errors=True)


def clean_shared_files(work_dir: Path) -> None:
    """Remove what all sessions share, if none is left and no run is using the folder.

    The folder itself goes only when that leaves it empty: it may be the user's home.

    Args:
        work_dir: work folder of the run, which holds no lock on it any more.
    """
    graph = work_dir / GRAPH
    try:
        with file_lock(work_dir / IN_USE):
            if any(path.is_dir() for path in graph.glob("*")):
                return
            shutil.rmtree(graph, ignore_errors=True)
            shutil.rmtree(work_dir / TEMPLATES, ignore_errors=True)
    except TryAgainError:
        return
    with suppress(OSError):  # not empty
        work_dir.rmdir()
