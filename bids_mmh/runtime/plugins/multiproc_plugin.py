"""Nipype's MultiProc with workers that write to the log of the run, and whose death is noticed."""

import faulthandler
import gc
import logging
import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from traceback import format_exception
from typing import Any

from nipype import Node
from nipype import config as nipype_config
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, run_node

from bids_mmh.runtime.devices import GpuPool
from bids_mmh.runtime.log_file import log_file_handler
from bids_mmh.runtime.plugins.session_plugin import SessionPlugin
from bids_mmh.runtime.plugins.suspects import Suspects
from bids_mmh.runtime.process_pool import process_pool

LONGEST_WAIT = 1.0
"""Seconds after which the plugin looks at its steps even if none has ended."""


class SteadyMultiProcPlugin(SessionPlugin, MultiProcPlugin):
    """Run nodes in several processes.

    Nipype's own plugin waits for ever once the system has killed a worker, as it does where memory runs out.
    Here the nodes that were running are run again, each alone: what ends its worker once more fails, and the
    others go on. Nipype counts the nodes on
    GPUs but gives them no device: here each gets one of its own.

    Args:
        plugin_args: of MultiProc, and ``log_file`` and ``measure_memory``, see :class:`Worker`; ``gpus``:
            indices of the GPUs to use.
    """

    def __init__(self, plugin_args: Mapping[str, Any]) -> None:
        super().__init__(plugin_args=dict(plugin_args))
        self.pool = self._new_pool()
        self._gpus = GpuPool(self.plugin_args.get("gpus", ()))
        self._lent: dict[int, int] = {}  # task: GPU
        self._submitted: dict[int, tuple[Node, bool]] = {}
        self._suspects = Suspects(self._run_again)

    def _new_pool(self) -> ProcessPoolExecutor:
        worker = Worker.of(self.plugin_args)
        return process_pool(self.processors, initializer=_start_pool_worker, initargs=(worker,))

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:  # noqa: ANN401
        """Run what is in the graph and what will join it; no worker outlives that, however it ends."""
        # Nipype collects garbage whenever it looks for steps to run: what was imported before is none.
        gc.freeze()
        try:
            super().run(graph, config, updatehash=updatehash)
        finally:
            gc.unfreeze()
            self.pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:  # noqa: ANN401
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        # To look again before a step has ended is of no use and costs CPU time.
        running = [self._task_obj[task] for task, _ in self.pending_tasks]
        wait(running, timeout=LONGEST_WAIT, return_when=FIRST_COMPLETED)

    def _sort_jobs(self, jobids: Sequence[int], scheduler: str = "tsort") -> list[int]:  # noqa: ARG002
        """The steps that may begin, older sessions first.

        None begins before one of an older session that waits for memory only, or large steps would wait for
        as long as there are small ones.
        """
        if self._suspects.are_there:
            return []
        memory, _, gpus = self._check_resources(self.pending_tasks)
        allowed = []
        for number in jobids:
            node = self.procs[number]
            if node.is_gpu_node():
                if gpus < 1:
                    continue
                gpus -= 1
            memory -= min(node.mem_gb, self.memory_gb)
            if memory < 0:
                break
            allowed.append(number)
        return allowed

    def _submit_job(self, node: Node, updatehash: bool = False) -> int:
        gpu = self._gpus.lend() if node.is_gpu_node() else None
        if gpu is not None:
            node.interface.inputs.gpu = gpu
        try:
            task = int(super()._submit_job(node, updatehash))
        except BrokenProcessPool:
            self.pool = self._new_pool()
            task = int(super()._submit_job(node, updatehash))
        self._submitted[task] = node, updatehash
        if gpu is not None:
            self._lent[task] = gpu
        return task

    def _run_again(self, task: int) -> None:
        self.pool = self._new_pool()
        node, updatehash = self._submitted[task]
        future = self.pool.submit(run_node, node, updatehash, task)
        future.add_done_callback(self._async_callback)
        self._task_obj[task] = future

    def _clear_task(self, taskid: int) -> None:
        super()._clear_task(taskid)
        self._taskresult.pop(taskid, None)  # Nipype keeps the results of all nodes to the end
        self._submitted.pop(taskid, None)
        if taskid in self._lent:
            self._gpus.give_back(self._lent.pop(taskid))

    def _async_callback(self, args: "Future[Any]") -> None:
        if args.exception() is None:
            super()._async_callback(args)

    def _get_result(self, taskid: int) -> Any:  # noqa: ANN401
        future = self._task_obj[taskid]
        error = future.exception() if future.done() else None
        if isinstance(error, BrokenProcessPool) and not self._suspects.killed(taskid):
            self._suspects.go_on(sum(not other.done() for other in self._task_obj.values()))
            return None
        if future.done():
            self._suspects.ended(taskid)
        if error is None:
            return super()._get_result(taskid)
        return {"result": None, "traceback": format_exception(error), "taskid": taskid}


@dataclass(frozen=True)
class Worker:
    """How a worker process is prepared: nothing on the terminal, everything in the log file of the run.

    Attributes:
        folder: working folder.
        log_file: file to append to, None for no log.
        measure_memory: whether Nipype measures the memory of each step.
    """

    folder: Path
    log_file: Path | None = None
    measure_memory: bool = False

    @classmethod
    def of(cls, plugin_args: Mapping[str, Any]) -> "Worker":
        """Read the arguments of a plugin."""
        return cls(Path.cwd(), plugin_args.get("log_file"), plugin_args.get("measure_memory", False))

    def start(self) -> None:
        """Prepare this process."""
        os.chdir(self.folder)
        os.environ["NIPYPE_NO_ET"] = "1"  # Nipype would ask the network for its newest version
        handler = log_file_handler(self.log_file) if self.log_file else logging.NullHandler()
        if self.log_file:
            # Where in a library a process died that could not raise an error any more.
            faulthandler.enable(self.log_file.open("a"))
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        logging.getLogger("nipype").handlers.clear()
        logging.captureWarnings(True)
        if self.measure_memory:
            nipype_config.enable_resource_monitor()


def _start_pool_worker(worker: Worker) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the first ends the others
    worker.start()
