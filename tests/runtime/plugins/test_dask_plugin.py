import re
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from distributed import LocalCluster
from nipype import Node, Workflow
from nipype.interfaces.utility import Function

from bids_mmh.errors import ExitCode, UsageError
from bids_mmh.runtime.plugins import dask_plugin
from bids_mmh.runtime.workflow_run import run_sessions


def place(use_gpu):
    from distributed import get_worker

    return get_worker().name, use_gpu


def follow(place):
    import os

    return os.getpid(), place


def a_bug():
    raise ZeroDivisionError("division by zero")


def session(*, use_gpu, failing=False):
    graph = Workflow("sub_003")
    first = Node(Function(function=place, output_names=["worker", "on_gpu"]), "place_t1w1")
    first.inputs.use_gpu = use_gpu
    second = Node(Function(function=follow, output_names=["pid", "place"]), "follow_t1w1")
    graph.connect(first, "worker", second, "place")
    if failing:
        graph.add_nodes([Node(Function(function=a_bug, output_names=["out"]), "bug_t1w1")])
    return graph


def run(folder, arguments, **changes):
    file = folder / "dask.yml"
    file.write_text(f"plugin: Dask\nplugin_args: {{{arguments}, poll_sleep_duration: 0.02}}\n")
    settings = SimpleNamespace(
        nipype_plugin_file=file, nprocs=1, stop_on_first_crash=False, profile=False, work_dir=folder / "work"
    )
    log = folder / "run.log"
    seen = []
    failures = []
    run_sessions(
        [session(**changes)],
        settings,
        crash_dir=folder / "crash",
        callbacks=[lambda node, status: seen.append((node.name, status))],
        ended=lambda name, failed: failures.extend(failed),
        log_file=log,
    )
    return failures, seen, log


def cluster(**options):
    """A cluster of one worker, as ``dask scheduler`` and ``dask worker --nthreads 1`` make it."""
    return LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, scheduler_port=0, **options
    )


def test_steps_run_on_the_cluster_and_failures_come_back(tmp_path):
    with cluster(resources={"GPU": 1}) as with_gpu:
        address = f"address: '{with_gpu.scheduler_address}'"
        failures, seen, log = run(tmp_path, address, use_gpu=True, failing=True)
    assert ("follow_t1w1", "end") in seen
    assert [failure.code for failure in failures] == [ExitCode.DATA]
    assert "ZeroDivisionError" in failures[0].sentence
    assert "place_t1w1" in log.read_text()


@pytest.mark.parametrize(
    ("worker", "needs_gpu", "remedy"),
    [
        ({"nthreads": 1, "resources": {}}, True, '--resources "GPU=1"'),
        ({"nthreads": 2, "resources": {"GPU": 1}}, True, "--nthreads 1"),
        ({"nthreads": 1, "resources": {}}, False, None),
        ({"nthreads": 1, "resources": {"GPU": 1}}, True, None),
    ],
)
def test_workers_must_fit(monkeypatch, worker, needs_gpu, remedy):
    client = SimpleNamespace(scheduler_info=lambda **_: {"workers": {"tcp://a": worker}})
    monkeypatch.setattr(dask_plugin, "_connect", lambda _: client)
    plugin = dask_plugin.DaskPlugin({})
    with pytest.raises(UsageError, match=re.escape(remedy)) if remedy else nullcontext():
        plugin._check_workers(needs_gpu=needs_gpu)


def test_a_cluster_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"tcp://127\.0\.0\.1:9 cannot be reached"):
        run(tmp_path, "address: 'tcp://127.0.0.1:9', timeout: 1", use_gpu=False)
