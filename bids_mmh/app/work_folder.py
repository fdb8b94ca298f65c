"""Removing what a run left in its work folder, and nothing else."""

import shutil
from collections.abc import Iterable
from pathlib import Path

GRAPH, TEMPLATES = "bids_mmh", "templates"


def clean_work_folder(work_dir: Path, sessions: Iterable[str]) -> None:
    """Remove the work files of some sessions, and what all sessions share once none is left.

    The folder itself goes only when that leaves it empty: it may be the user's home.

    Args:
        work_dir: work folder of the run.
        sessions: node names of the sessions.
    """
    graph = work_dir / GRAPH
    for name in sessions:
        shutil.rmtree(graph / name, ignore_errors=True)
    if not graph.is_dir() or not any(path.is_dir() for path in graph.iterdir()):
        shutil.rmtree(graph, ignore_errors=True)
        shutil.rmtree(work_dir / TEMPLATES, ignore_errors=True)
        if work_dir.is_dir() and not any(work_dir.iterdir()):
            work_dir.rmdir()
