from nipype import Node, Workflow
from nipype.interfaces.utility import Function

from bids_mmh.runtime.plugins.multiproc_plugin import SteadyMultiProcPlugin
from bids_mmh.runtime.step_times import StepTimes


def wait(seconds):
    import time

    time.sleep(seconds)
    return seconds


def fail():
    raise ZeroDivisionError


def run(folder, one_graph, *, memory):
    times = StepTimes()
    whole, session = Workflow("bids_mmh", base_dir=str(folder)), Workflow("sub_01")
    first, broken = (
        Node(Function(function=function, output_names=["out"]), name, n_procs=2)
        for function, name in ((wait, "load_t1w1"), (fail, "bias_t1w1"))
    )
    first.inputs.seconds = 0.5
    session.add_nodes([first, broken])
    whole.add_nodes([session])
    whole.config["execution"] = {"crashdump_dir": str(folder), "poll_sleep_duration": "0.05"}
    plugin = SteadyMultiProcPlugin(
        {"n_procs": 2, "measure_memory": memory, "status_callback": times, "raise_insufficient": False}
    )
    whole.run(plugin=one_graph(plugin))
    return times


def test_steps_have_times_memory_and_an_end_and_cached_ones_do_not_count(tmp_path, one_graph):
    times = run(tmp_path, one_graph, memory=True)
    load, bias = sorted(times.steps, key=lambda step: step.name, reverse=True)
    assert (load.session, load.name, load.failed, bias.failed) == ("sub_01", "load_t1w1", False, True)
    assert 0.5 <= load.end - load.start < 30
    assert load.memory_gb > 0.01
    times.write(tmp_path / "profile.tsv", tmp_path / "profile.svg")
    lines = (tmp_path / "profile.tsv").read_text().splitlines()
    assert len(lines) == 3
    assert (tmp_path / "profile.svg").read_text().lstrip().startswith("<?xml")
    again = run(tmp_path, one_graph, memory=False)
    assert [step.name for step in again.steps] == ["bias_t1w1"]
