"""One session after the other, by whatever plugin."""

from types import SimpleNamespace

import pytest
from nipype import Node, Workflow
from nipype.interfaces.utility import Function, Merge

from bids_mmh.runtime.plugins.session_plugin import SPARE
from bids_mmh.runtime.workflow_run import run_sessions

PROCESSES = 2
PLUGINS = {
    "Linear": "plugin: Linear",
    "MultiProc": f"plugin: MultiProc\nplugin_args: {{n_procs: {PROCESSES}}}",
    "Dask": f"plugin: Dask\nplugin_args: {{n_procs: {PROCESSES}, poll_sleep_duration: 0.02}}",
}


def step(done, fails):
    import os

    if fails:
        raise ZeroDivisionError("division by zero")
    return os.getpid()


def session(number, failing=()):
    """Two scans of three steps each, joined by a step that Nipype does itself."""
    workflow = Workflow(f"sub_{number:02d}")
    merge = Node(Merge(2), "merge")
    for scan in (1, 2):
        before = None
        for name in ("load", "finish", "write"):
            function = Function(input_names=["done", "fails"], output_names=["out"], function=step)
            node = Node(function, f"{name}_t1w{scan}")
            node.inputs.fails = number in failing and name == "finish" and scan == 1
            node.inputs.done = 0
            if before is not None:
                workflow.connect(before, "out", node, "done")
            before = node
        workflow.connect(before, "out", merge, f"in{scan}")
    page = Node(Function(input_names=["done", "fails"], output_names=["out"], function=step), "page")
    page.inputs.fails = False
    workflow.connect(merge, "out", page, "done")
    return workflow


class Run:
    """Which sessions were asked for, which ended, and how far, in order."""

    def __init__(self, folder, plugin, sessions, failing=(), *, stop=False):
        self.taken, self.ended, self.failures, self.most, self.steps = [], [], [], 0, []
        file = folder / "plugin.yml"
        file.write_text(PLUGINS[plugin])
        settings = SimpleNamespace(
            nipype_plugin_file=file,
            nprocs=PROCESSES,
            mem=None,
            device="cpu",
            profile=False,
            stop_on_first_crash=stop,
            work_dir=folder / "work",
        )
        run_sessions(
            self.workflows(sessions, failing),
            settings,
            crash_dir=folder / "crash",
            callbacks=[self.progress],
            ended=self.end,
        )

    def workflows(self, count, failing):
        for number in range(count):
            self.taken.append(f"sub_{number:02d}")
            self.most = max(self.most, len(self.taken) - len(self.ended))
            yield session(number, failing)

    def progress(self, node, status):
        self.steps.append((node.fullname.split(".")[1], node.name, status))

    def end(self, name, failures):
        self.ended.append(name)
        self.failures += [(failure.session, failure.node) for failure in failures]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_few_sessions_are_under_way_and_the_oldest_go_first(tmp_path, plugin):
    run = Run(tmp_path, plugin, sessions=12, failing={3})
    assert run.taken == sorted(run.ended) == [f"sub_{number:02d}" for number in range(12)]
    assert run.most <= PROCESSES + SPARE
    assert run.failures == [("sub_03", "finish_t1w1")]
    # What does not depend on the failed step was done.
    assert ("sub_03", "write_t1w2", "end") in run.steps
    assert ("sub_03", "page", "start") not in run.steps
    for place, name in enumerate(run.ended):
        assert abs(place - int(name[4:])) <= PROCESSES + SPARE
    began = [name for name, _, status in run.steps if status == "start"]
    assert began.index("sub_00") < began.index("sub_01") < began.index("sub_05") < began.index("sub_11")
    pages = [
        name for name, node, status in run.steps if (node, status) == ("page", "end") and name != "sub_03"
    ]
    assert pages[0] in {"sub_00", "sub_01"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("plugin", ["Linear", "MultiProc"])
def test_a_run_can_stop_at_the_first_failure(tmp_path, plugin):
    run = Run(tmp_path, plugin, sessions=12, failing={2}, stop=True)
    assert run.failures == [("sub_02", "finish_t1w1")]
    assert len(run.taken) < 12


@pytest.mark.parametrize("plugin", ["Linear", "MultiProc"])
def test_no_session_no_work(tmp_path, plugin):
    assert Run(tmp_path, plugin, sessions=0).ended == []


def test_the_engine_s_own_errors_are_not_taken_for_failures_of_steps(tmp_path, monkeypatch):
    from bids_mmh.runtime.plugins.multiproc_plugin import SteadyMultiProcPlugin

    def broken(self, node, updatehash=False):
        raise OSError("no more processes")

    monkeypatch.setattr(SteadyMultiProcPlugin, "_submit_job", broken)
    with pytest.raises(OSError, match="no more processes"):
        Run(tmp_path, "MultiProc", sessions=3)
