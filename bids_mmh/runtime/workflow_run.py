"""Running the graphs of sessions to their end, whatever fails in them."""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import networkx as nx
from nipype import Workflow

from bids_mmh.runtime.crashes import CrashFolder, Failure
from bids_mmh.runtime.plugins.choice import PluginChoice, choose_plugin, plugin_for_run, request_resources
from bids_mmh.runtime.work_folder import GRAPH
from bids_mmh.settings import Settings

logger = logging.getLogger(__name__)

Ended = Callable[[str, Sequence[Failure]], None]


def run_sessions(
    sessions: Iterable[Workflow],
    settings: Settings,
    *,
    crash_dir: Path,
    callbacks: Sequence[Callable[..., None]],
    ended: Ended,
    log_file: Path | None = None,
) -> None:
    """Run the graphs of sessions with one set of workers, so that the first session is finished first.

    Args:
        sessions: one workflow a session, named after it; each is asked for when it is its turn.
        settings: options of the run.
        crash_dir: where tracebacks of failing nodes go; runs at the same time need one each. It stays only
            if there are any.
        callbacks: each called with a node and ``start``, ``end`` or ``exception``.
        ended: called with the name of a session that is over and the nodes of it that failed; those that
            needed their outputs did not run. Not called for sessions that the run stopped in.
        log_file: where worker processes log to.

    Raises:
        UsageError: the plugin file cannot be used.
    """
    choice = choose_plugin(settings)
    crashes = CrashFolder(crash_dir)
    source = _Sessions(sessions, settings, choice, crashes, ended)
    try:
        plugin = plugin_for_run(choice, settings, callbacks=callbacks, log_file=log_file)
        plugin.run_sessions(source)
    except Exception:
        source.end_failed()
        if not (settings.stop_on_first_crash and crashes.has_new()):
            raise
    finally:
        with suppress(OSError):  # not empty
            crash_dir.rmdir()


class _Sessions:
    """The sessions as executable graphs, made when it is their turn, and what failed in them."""

    def __init__(
        self,
        sessions: Iterable[Workflow],
        settings: Settings,
        choice: PluginChoice,
        crashes: CrashFolder,
        ended: Ended,
    ) -> None:
        self._sessions = iter(sessions)
        self._settings, self._choice, self._crashes, self._ended = settings, choice, crashes, ended
        self._names: dict[nx.DiGraph, str] = {}
        self.config: Any = None

    def take(self) -> nx.DiGraph | None:
        """Make the graph of the next session, and the configuration that Nipype runs it by."""
        session = next(self._sessions, None)
        if session is None:
            return None
        request_resources(self._choice, session)
        whole = Workflow(GRAPH, base_dir=str(self._settings.work_dir))
        whole.config["execution"] = self._execution()
        whole.add_nodes([session])
        expanded = _Expand()
        whole.run(plugin=expanded)
        self._names[expanded.graph] = session.name
        self.config = expanded.config
        return expanded.graph

    def ended(self, graph: nx.DiGraph) -> None:
        """Pass on what came of a session."""
        name = self._names.pop(graph)
        self._ended(name, self._crashes.failures_of(name))

    def has_failed(self, graph: nx.DiGraph) -> bool:
        """Whether a node of a session has left a crash file."""
        return bool(self._crashes.failures_of(self._names[graph]))

    def end_failed(self) -> None:
        """End the sessions that have failed, because the run stops."""
        for graph in [graph for graph in self._names if self.has_failed(graph)]:
            self.ended(graph)

    def _execution(self) -> dict[str, str]:
        return {
            "crashdump_dir": str(self._crashes.path),
            "crashfile_format": "txt",
            "stop_on_first_crash": str(self._settings.stop_on_first_crash).lower(),
            "poll_sleep_duration": str(self._choice.poll_seconds),
            "job_finished_timeout": "60",  # until files of other machines are seen by NFS
            "remove_node_directories": "false",
            "check_version": "false",
            "create_report": "false",
        }


class _Expand:
    """A plugin that runs nothing and keeps the graph that Nipype makes of a workflow for plugins to run."""

    plugin_args = None

    def run(self, graph: nx.DiGraph, config: Any, updatehash: bool = False) -> None:  # noqa: ANN401, ARG002
        self.graph, self.config = graph, config


def draw_graph(graph: Workflow, path: Path) -> None:
    """Draw a graph as ``path`` (.dot), and as SVG beside it where Graphviz is installed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        graph.write_graph(str(path), graph2use="colored", format="svg")
    except OSError as error:
        logger.warning("The graph was written as %s but not drawn (%s): install Graphviz.", path, error)
