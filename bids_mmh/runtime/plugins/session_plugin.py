"""Nipype's plugins, fed with one session's graph after the other."""

from typing import Any, Protocol

import networkx as nx
import numpy as np
from nipype import Node
from nipype.pipeline.plugins.base import DistributedPluginBase, PluginBase
from scipy import sparse

SPARE = 2  # sessions beside those that keep every process busy, for when one has no step to run


class SessionGraphs(Protocol):
    """Where the graphs of the sessions come from."""

    config: Any  # of Nipype, once a graph was taken

    def take(self) -> nx.DiGraph | None:
        """The executable graph of the next session, None when there is none left."""

    def ended(self, graph: nx.DiGraph) -> None:
        """Take note that every node of a session has ended or cannot run."""

    def has_failed(self, graph: nx.DiGraph) -> bool:
        """Whether a node of a session has failed."""


class SessionPlugin(DistributedPluginBase):
    """Mixin for Nipype's distributed plugins: finish sessions one after the other.

    Nipype runs the nodes of a graph breadth first: in a graph of many sessions all of them get their first
    step, then all their second. Here the graph holds a few sessions at a time. As nodes end, sessions leave
    it and others join, and a step of an older session goes before one of a newer session. The workers
    stay the same throughout.
    """

    # Nipype's own, which it declares by what they are before a run.
    pending_tasks: list[tuple[int, int]]  # of the plugin's task and the node's number
    procs: list[Node]
    proc_done: Any
    proc_pending: Any

    def run_sessions(self, source: SessionGraphs) -> None:
        """Run all sessions of a source; nodes that fail leave their crash files.

        Args:
            source: gives the graphs, and is notified of those that have ended.

        Raises:
            Exception: the engine itself failed, or a node, where the run is to stop at the first failure.
        """
        self._source, self._ran_to_the_end = source, False
        self._sessions: list[nx.DiGraph] = []
        self.procs = []
        graph = nx.DiGraph()
        if not self._join(graph):
            return
        try:
            self.run(graph, source.config)
        except Exception:  # which Nipype also ends with when nodes have failed
            if not self._ran_to_the_end:
                raise

    def most_sessions(self) -> int:
        """How many sessions may be in the graph: a few more than there are processes."""
        return int(self.plugin_args["n_procs"]) + SPARE

    def _postrun_check(self) -> None:
        super()._postrun_check()
        self._ran_to_the_end = True

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:  # noqa: ANN401
        self._renew(graph)
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        # Nipype stops where nothing is left to run: what ended at once must be followed by something here.
        while np.all(self._is_over()) and self._renew(graph):
            super()._send_procs_to_workers(updatehash=updatehash, graph=graph)

    def _renew(self, graph: nx.DiGraph) -> bool:
        """Let sessions leave that have ended, and others join; whether any has joined."""
        over = {node for node, is_over in zip(self.procs, self._is_over(), strict=True) if is_over}
        ended = [session for session in self._sessions if over.issuperset(session)]
        for session in ended:
            self._sessions.remove(session)
            self._source.ended(session)
        joined = self._join(graph)
        if self._sessions and (ended or joined):
            for session in ended:
                graph.remove_nodes_from(session)
            self._generate_dependency_list(graph)
        return joined

    def _join(self, graph: nx.DiGraph) -> bool:
        before = len(self._sessions)
        while len(self._sessions) < self.most_sessions() and (session := self._source.take()) is not None:
            self._sessions.append(session)
            graph.update(session)
        return len(self._sessions) > before

    def _is_over(self) -> Any:  # noqa: ANN401
        return self.proc_done & ~self.proc_pending

    def _generate_dependency_list(self, graph: nx.DiGraph) -> None:
        """Number the nodes anew, session by session, and keep what is known of those that were there."""
        running = [(task, self.procs[number]) for task, number in self.pending_tasks]
        state = {}
        if self.procs:
            state = dict(zip(self.procs, zip(self.proc_done, self.proc_pending, strict=True), strict=True))
        self.procs = [node for session in self._sessions for node in nx.topological_sort(session)]
        states = np.array([state.get(node, (False, False)) for node in self.procs], dtype=bool)
        self.proc_done, self.proc_pending = states.reshape(-1, 2).T.copy()
        needs = nx.to_scipy_sparse_array(graph, nodelist=self.procs, dtype=int)
        # Nobody waits for a node that is over: Nipype empties its row.
        self.depidx = sparse.lil_matrix(needs.multiply(~self._is_over()[:, np.newaxis]))
        self.refidx = self.depidx.copy()  # for removing folders of nodes, which is switched off
        places = {node: number for number, node in enumerate(self.procs)}
        self.pending_tasks = [(task, places[node]) for task, node in running]


class WholeGraphs:
    """Sessions one at a time, by a plugin that takes whole graphs, such as Nipype's Linear.

    Args:
        plugin: of Nipype.
    """

    def __init__(self, plugin: PluginBase) -> None:
        self.plugin = plugin

    def run_sessions(self, source: SessionGraphs) -> None:
        """Do what :meth:`SessionPlugin.run_sessions` does."""
        while (graph := source.take()) is not None:
            try:
                self.plugin.run(graph, source.config)
            except Exception:
                stop = source.config["execution"]["stop_on_first_crash"] == "true"
                if stop or not source.has_failed(graph):
                    raise
            source.ended(graph)
