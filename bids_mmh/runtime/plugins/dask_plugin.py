"""Steps on the workers of a Dask cluster, which may be many machines."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from traceback import format_exception
from typing import Any

from nipype import Node
from nipype.pipeline.plugins.multiproc import run_node

from bids_mmh.errors import UsageError
from bids_mmh.runtime.plugins.multiproc_plugin import Worker
from bids_mmh.runtime.plugins.session_plugin import SPARE, SessionPlugin

logger = logging.getLogger(__name__)

GPU = "GPU"  # the resource that workers with a GPU of their own declare


class DaskPlugin(SessionPlugin):
    """Run nodes on a Dask cluster.

    A node changes the working directory of its process, so each worker must have one thread. Nodes that use a
    GPU go to workers that declare the resource ``GPU``; each of those sees a device of its own.

    Args:
        plugin_args: ``scheduler_file`` or ``address`` of a running cluster; without either, ``n_procs``
            workers are started here. ``log_file`` and ``measure_memory``: see :class:`Worker`.

    Raises:
        UsageError: Dask is not installed, or the cluster cannot be reached.
    """

    def __init__(self, plugin_args: Mapping[str, Any]) -> None:
        super().__init__(plugin_args=dict(plugin_args))
        self._client = _connect(self.plugin_args)
        self._futures: dict[int, Any] = {}
        self._count = 0

    def most_sessions(self) -> int:
        """As many sessions as there are workers, who may come and go, and a few more."""
        return len(self._workers()) + SPARE

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:  # noqa: ANN401
        """Run what is in the graph and what will join it; the connection is closed however that ends."""
        try:
            self._check_workers(needs_gpu=any(node.is_gpu_node() for node in graph.nodes()))
            super().run(graph, config, updatehash=updatehash)
        finally:
            cluster = self._client.cluster
            self._client.close()
            if cluster is not None:
                cluster.close()

    def _check_workers(self, *, needs_gpu: bool) -> None:
        workers = self._workers()
        if any(worker["nthreads"] != 1 for worker in workers):
            raise UsageError("A worker of the Dask cluster has several threads: start it with --nthreads 1.")
        if needs_gpu and not any(worker["resources"].get(GPU) for worker in workers):
            raise UsageError(
                "No worker of the Dask cluster declares a GPU: start one for each GPU with "
                f'--resources "{GPU}=1", or run with --device cpu.'
            )

    def _workers(self) -> list[Any]:
        return list(self._client.scheduler_info(n_workers=-1)["workers"].values())

    def _submit_job(self, node: Node, updatehash: bool = False) -> int:
        self._count += 1
        self._futures[self._count] = self._client.submit(
            run_node,
            node,
            updatehash,
            self._count,
            pure=False,
            resources={GPU: 1} if node.is_gpu_node() else None,
        )
        return self._count

    def _get_result(self, taskid: int) -> Any:  # noqa: ANN401
        future = self._futures[taskid]
        if not future.done():
            return None
        error = future.exception()
        if error is None:
            return future.result()
        return {"result": None, "traceback": format_exception(error), "taskid": taskid}

    def _clear_task(self, taskid: int) -> None:
        del self._futures[taskid]


def _connect(arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(
            "The plugin Dask needs the package distributed: pip install 'bids-mmh[dask]'."
        ) from None
    address, file = arguments.get("address"), arguments.get("scheduler_file")
    try:
        if address or file:
            client = Client(address, scheduler_file=file, timeout=arguments.get("timeout", 30))
        else:
            client = Client(n_workers=arguments["n_procs"], threads_per_worker=1, dashboard_address=None)
    except (OSError, ValueError) as error:
        raise UsageError(f"The Dask cluster {address or file} cannot be reached: {error}.") from error
    client.register_plugin(_start_plugin(Worker.of(arguments)))
    return client


def _start_plugin(own: Worker) -> Any:  # noqa: ANN401
    """What every worker does first, also one that joins later."""
    from distributed import WorkerPlugin

    class StartWorker(WorkerPlugin):
        name = "bids-mmh"

        def setup(self, worker: Any) -> None:  # noqa: ANN401, ARG002
            replace(own, folder=Path.cwd()).start()

    return StartWorker()
