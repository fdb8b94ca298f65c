"""Running a Nipype graph to its end."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nipype import Workflow

from bids_mmh.app.crashes import Failure, read_failures
from bids_mmh.app.settings import Settings
from bids_mmh.errors import UsageError

logger = logging.getLogger(__name__)

HARMONIZE_GB = 3.0  # peak of the embedded model at 1 mm, docs/performance.md
_LEAST_GB = 0.5  # with next to nothing Nipype's scheduler would never start a step


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
        crash_dir: where tracebacks of failing nodes go; made if missing.
        progress: called with a node and ``start``, ``end`` or ``exception``.
        log_file: where worker processes log to.

    Returns:
        The nodes that failed; those that needed their outputs did not run.

    Raises:
        UsageError: the plugin file cannot be used.
    """
    graph.config["execution"] = {
        "crashdump_dir": str(crash_dir),
        "crashfile_format": "txt",
        "stop_on_first_crash": str(settings.stop_on_first_crash).lower(),
        "poll_sleep_duration": "0.05",
        "check_version": "false",
        "create_report": "false",
    }
    crash_dir.mkdir(parents=True, exist_ok=True)
    known = set(crash_dir.glob("crash-*.txt"))
    plugin = choose_plugin(settings, progress=progress, log_file=log_file)
    try:
        graph.run(**plugin)
    except Exception:
        failures = read_failures(crash_dir, known)
        if not failures:  # not a node but the engine itself
            raise
        return failures
    return read_failures(crash_dir, known)


def choose_plugin(
    settings: Settings, *, progress: Callable[..., None], log_file: Path | None
) -> dict[str, Any]:
    """Choose Nipype's plugin and its arguments: the user's file, or as many processes as were asked for."""
    from bids_mmh.app.workers import SteadyMultiProcPlugin

    if settings.nipype_plugin_file is not None:
        chosen = _plugin_from_file(settings.nipype_plugin_file)
        arguments = dict(chosen.get("plugin_args") or {}) | {"status_callback": progress}
        return {"plugin": chosen["plugin"], "plugin_args": arguments}
    if settings.nprocs == 1:
        return {"plugin": "Linear", "plugin_args": {"status_callback": progress}}
    arguments = {
        "n_procs": settings.nprocs,
        "n_gpu_procs": 1,  # all of them would share one device
        "raise_insufficient": False,
        "status_callback": progress,
        "log_file": log_file,
    }
    if settings.mem is not None:
        arguments["memory_gb"] = max(settings.mem, _LEAST_GB)
        if settings.mem < HARMONIZE_GB:
            logger.warning(
                "--mem %g GB is less than the largest step may need (%g GB): such steps run alone.",
                settings.mem,
                HARMONIZE_GB,
            )
    return {"plugin": SteadyMultiProcPlugin(arguments)}


def draw_graph(graph: Workflow, path: Path) -> None:
    """Draw a graph as ``path`` (.dot), and as SVG beside it where Graphviz is installed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        graph.write_graph(str(path), graph2use="colored", format="svg")
    except OSError as error:
        logger.warning("The graph was written as %s but not drawn (%s): install Graphviz.", path, error)


def _plugin_from_file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"The Nipype plugin file {path} cannot be read: {reason}.") from error
    if not isinstance(content, dict) or "plugin" not in content or set(content) - {"plugin", "plugin_args"}:
        raise UsageError(
            f"The Nipype plugin file {path} needs the keys 'plugin' and, if wanted, 'plugin_args'."
        )
    return content
