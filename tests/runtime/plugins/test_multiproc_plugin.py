import gc
import time
from itertools import combinations
from types import SimpleNamespace

import pytest
from nipype import Node, Workflow
from nipype.interfaces.utility import Function
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from bids_mmh.runtime.plugins.multiproc_plugin import SteadyMultiProcPlugin


def occupy(use_gpu, meeting, gpu=None):
    import os
    import time
    from pathlib import Path

    start = time.monotonic()
    if use_gpu:  # a second worker may take long to start: wait for its step
        (Path(meeting) / str(os.getpid())).touch()
        while len(list(Path(meeting).iterdir())) < 2 and time.monotonic() < start + 60:
            time.sleep(0.05)
    time.sleep(0.1)
    return gpu, start, time.monotonic()


def run(folder, one_graph, **arguments):
    """Four steps on a GPU and one without; what each got, by its name."""
    (folder / "meeting").mkdir()
    graph = Workflow("graph", base_dir=str(folder))
    graph.config["execution"] = {"poll_sleep_duration": "0.02", "crashdump_dir": str(folder)}
    for number in range(5):
        step = Function(
            input_names=["use_gpu", "meeting", "gpu"], output_names=["gpu", "start", "end"], function=occupy
        )
        node = Node(step, f"step{number}")
        node.inputs.use_gpu = number < 4
        node.inputs.meeting = str(folder / "meeting")
        graph.add_nodes([node])
    done = graph.run(plugin=one_graph(SteadyMultiProcPlugin({"n_procs": 3, **arguments})))
    return {node.name: node.result.outputs.get() for node in done.nodes()}


def test_steps_queue_on_the_gpus_there_are_and_each_has_its_own(tmp_path, one_graph):
    results = run(tmp_path, one_graph, n_gpu_procs=2, gpus=(1, 3))
    on_gpu = [results[f"step{number}"] for number in range(4)]
    assert {step["gpu"] for step in on_gpu} == {1, 3}
    at_once = [
        (one["gpu"], other["gpu"])
        for one, other in combinations(on_gpu, 2)
        if one["start"] < other["end"] and other["start"] < one["end"]
    ]
    assert at_once
    assert all(one != other for one, other in at_once)
    assert results["step4"]["gpu"] is None


def test_while_steps_run_the_plugin_does_not_look_for_others(tmp_path, one_graph, monkeypatch):
    looks = []
    look = MultiProcPlugin._send_procs_to_workers
    counted = lambda *args, **more: looks.append(args) or look(*args, **more)  # noqa: E731
    monkeypatch.setattr(MultiProcPlugin, "_send_procs_to_workers", counted)
    started = time.monotonic()
    run(tmp_path, one_graph, n_gpu_procs=2, gpus=(1, 3))
    # Once where a step ends, and once a second; every 20 ms without the wait.
    assert len(looks) < 15 + 2 * (time.monotonic() - started)
    assert gc.get_freeze_count() == 0


def test_no_step_overtakes_an_older_one_that_waits_for_memory_only():
    plugin = SteadyMultiProcPlugin({"n_procs": 4, "memory_gb": 4, "n_gpu_procs": 1})

    def ready(*wanted):
        plugin.procs = [
            SimpleNamespace(mem_gb=gb, n_procs=1, is_gpu_node=lambda on_gpu=on_gpu: on_gpu)
            for gb, on_gpu in wanted
        ]
        return plugin._sort_jobs(range(len(wanted)))

    assert ready((2, False), (3, False), (1, False)) == [0]
    assert ready((9, False), (1, False)) == [0]  # what needs more than there is runs alone
    # Steps that wait for the GPU hold up nobody else.
    assert ready((1, True), (3, True), (2, False), (1, False)) == [0, 2, 3]


def live(name):
    """A step that is killed as the system kills where memory runs out, or one that takes a while."""
    import os
    import signal
    import time

    if name == "killed":
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1.5)
    return name


@pytest.mark.timeout(240)
def test_a_worker_that_is_killed_fails_its_own_step_alone(tmp_path, one_graph):
    graph = Workflow("graph", base_dir=str(tmp_path))
    execution = {"poll_sleep_duration": "0.02", "crashdump_dir": str(tmp_path), "crashfile_format": "txt"}
    graph.config["execution"] = execution
    for name in ("killed", "beside", "later"):
        node = Node(Function(input_names=["name"], output_names=["name"], function=live), name)
        node.inputs.name = name
        graph.add_nodes([node])
    graph.run(plugin=one_graph(SteadyMultiProcPlugin({"n_procs": 2})))
    (crash,) = tmp_path.glob("crash-*.txt")
    assert "graph.killed" in crash.read_text()
    assert "BrokenProcessPool" in crash.read_text()
    for name in ("beside", "later"):
        assert list((tmp_path / "graph" / name).glob("result_*.pklz"))
