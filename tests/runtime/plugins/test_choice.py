import re
from types import SimpleNamespace

import pytest
from nipype import Node, Workflow
from nipype.interfaces.utility import Function

from bids_mmh.errors import UsageError
from bids_mmh.runtime.plugins.choice import PluginChoice, choose_plugin, plugin_for_run, request_resources
from bids_mmh.runtime.plugins.multiproc_plugin import SteadyMultiProcPlugin
from bids_mmh.runtime.plugins.session_plugin import SessionPlugin, WholeGraphs


def settings(**changes):
    given = {"nipype_plugin_file": None, "nprocs": 2, "mem": None, "device": "cpu", "profile": False}
    return SimpleNamespace(**given | changes)


def made(choice, **changes):
    return plugin_for_run(choice, settings(**changes), callbacks=[print], log_file=None)


def from_file(folder, text):
    file = folder / "plugin.yml"
    file.write_text(text)
    return choose_plugin(settings(nipype_plugin_file=file))


def test_one_process_or_several():
    assert choose_plugin(settings(nprocs=1)).name == "Linear"
    assert choose_plugin(settings(nprocs=2)).name == "MultiProc"


def test_little_memory_is_raised_to_what_the_scheduler_needs(caplog):
    chosen = made(PluginChoice("MultiProc"), mem=0.001)
    assert isinstance(chosen, SteadyMultiProcPlugin)
    assert chosen.memory_gb == 0.5
    assert "--mem 0.001 GB is less than the largest step" in caplog.text


def test_as_many_steps_on_gpus_as_there_are_gpus(monkeypatch):
    monkeypatch.setattr("bids_mmh.runtime.devices.count_gpus", lambda: 4)
    assert made(PluginChoice("MultiProc"), device="auto").n_gpu_procs == 4
    assert made(PluginChoice("MultiProc"), device="cuda:1").n_gpu_procs == 1


def test_a_plugin_file_goes_before_the_options(tmp_path):
    chosen = from_file(tmp_path, "plugin: Linear\nplugin_args: {x: 1}\n")
    plugin = made(chosen)
    assert isinstance(plugin, WholeGraphs)
    assert (plugin.plugin.plugin_args["x"], plugin.plugin.plugin_args["n_procs"]) == (1, 2)
    # Nipype's own MultiProc would hang where a worker is killed: a file that names it gets ours.
    chosen = made(from_file(tmp_path, "plugin: MultiProc\nplugin_args: {n_procs: 3, n_gpu_procs: 2}\n"))
    assert isinstance(chosen, SteadyMultiProcPlugin)
    assert (chosen.processors, chosen.n_gpu_procs) == (3, 2)
    # Batch systems too get one session after the other.
    assert isinstance(made(PluginChoice("PBS")), SessionPlugin)


def test_a_plugin_that_there_is_not():
    with pytest.raises(UsageError, match="no plugin 'Slurm'"):
        made(PluginChoice("Slurm"))


@pytest.mark.parametrize("text", ["plugin: [", "- a", "plugin_args: {}", "plugin: Linear\nplugin_args: 3\n"])
def test_plugin_files_that_cannot_be_used(tmp_path, text):
    with pytest.raises(UsageError, match=r"plugin\.yml"):
        from_file(tmp_path, text)


def test_batch_systems_are_elsewhere_and_asked_seldom(tmp_path):
    slurm = from_file(tmp_path, "plugin: SLURM\n")
    assert not slurm.is_local
    assert slurm.poll_seconds == 5
    assert from_file(tmp_path, "plugin: SLURM\nplugin_args: {poll_sleep_duration: 30}").poll_seconds == 30
    assert choose_plugin(settings()).is_local
    assert choose_plugin(settings()).poll_seconds < 1


def nothing(use_gpu):
    return use_gpu


def test_each_step_asks_slurm_for_what_it_needs():
    graph = Workflow("graph")
    for name, on_gpu in (("cpu", False), ("gpu", True)):
        node = Node(Function(function=nothing, output_names=["out"]), name, n_procs=3, mem_gb=1.5)
        node.inputs.use_gpu = on_gpu
        graph.add_nodes([node])
    choice = PluginChoice("SLURM", {"sbatch_args": "--partition=long", "gpu_sbatch_args": "--gpus=1"})
    request_resources(choice, graph)
    wanted = "--cpus-per-task=3 --mem=1500M"
    cpu, gpu = (graph.get_node(name).plugin_args for name in ("cpu", "gpu"))
    assert cpu == {"sbatch_args": f"{wanted} --partition=long", "overwrite": True}
    assert gpu == {"sbatch_args": f"{wanted} --gpus=1 --partition=long", "overwrite": True}


def test_a_missing_dask_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'bids-mmh[dask]'")):
        made(PluginChoice("Dask"))
