"""Running a Nipype graph to its end."""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nipype import Workflow

from bids_mmh.runtime.crashes import Failure, read_failures
from bids_mmh.runtime.plugins import choose_plugin, plugin_for_run
from bids_mmh.settings import Settings

logger = logging.getLogger(__name__)


def run_graph(
    graph: Workflow,
    settings: Settings,
    *,
    crash_dir: Path,
    progress: Callable[..., None],
    log_file: Path | None = None,
) -> list[Failure]:
    """Run a graph to its end, whatever fails in it.

    Args:
        graph: the graph.
        settings: options of the run.
        crash_dir: where tracebacks of failing nodes go; runs at the same time need one each. It stays only
            if there are any.
        progress: called with a node and ``start``, ``end`` or ``exception``.
        log_file: where worker processes log to.

    Returns:
        The nodes that failed; those that needed their outputs did not run.

    Raises:
        UsageError: the plugin file cannot be used.
    """
    choice = choose_plugin(settings)
    graph.config["execution"] = {
        "crashdump_dir": str(crash_dir),
        "crashfile_format": "txt",
        "stop_on_first_crash": str(settings.stop_on_first_crash).lower(),
        "poll_sleep_duration": str(choice.poll_seconds),
        "job_finished_timeout": "60",  # until other machines' files are seen through a network file system
        "check_version": "false",
        "create_report": "false",
    }
    crash_dir.mkdir(parents=True, exist_ok=True)
    known = set(crash_dir.glob("crash-*.txt"))
    try:
        graph.run(**plugin_for_run(choice, settings, graph, progress=progress, log_file=log_file))
    except Exception:
        failures = read_failures(crash_dir, known)
        if not failures:  # not a node but the engine itself
            raise
        return failures
    finally:
        with suppress(OSError):  # not empty
            crash_dir.rmdir()
    return read_failures(crash_dir, known)


def draw_graph(graph: Workflow, path: Path) -> None:
    """Draw a graph as ``path`` (.dot), and as SVG beside it where Graphviz is installed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        graph.write_graph(str(path), graph2use="colored", format="svg")
    except OSError as error:
        logger.warning("The graph was written as %s but not drawn (%s): install Graphviz.", path, error)
