from itertools import combinations

from nipype import Node, Workflow
from nipype.interfaces.utility import Function

from bids_mmh.runtime.multiproc_plugin import SteadyMultiProcPlugin


def occupy(use_gpu, gpu=None):
    import time

    start = time.monotonic()
    time.sleep(0.4)
    return gpu, start, time.monotonic()


def run(folder, **arguments):
    """Four steps on a GPU and one without; what each got, by its name."""
    graph = Workflow("graph", base_dir=str(folder))
    graph.config["execution"] = {"poll_sleep_duration": "0.02", "crashdump_dir": str(folder)}
    for number in range(5):
        step = Function(input_names=["use_gpu", "gpu"], output_names=["gpu", "start", "end"], function=occupy)
        node = Node(step, f"step{number}")
        node.inputs.use_gpu = number < 4
        graph.add_nodes([node])
    done = graph.run(plugin=SteadyMultiProcPlugin({"n_procs": 3, **arguments}))
    return {node.name: node.result.outputs.get() for node in done.nodes()}


def test_steps_queue_on_the_gpus_there_are_and_each_has_its_own(tmp_path):
    results = run(tmp_path, n_gpu_procs=2, gpus=(1, 3))
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
