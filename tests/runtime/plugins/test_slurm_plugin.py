"""Steps as jobs of SLURM, which stand-in ``sbatch`` and ``squeue`` run on this machine."""

import os
import sys
from types import SimpleNamespace

import pytest
from nipype import Node, Workflow
from nipype.interfaces.utility import Function

from bids_mmh.errors import ExitCode
from bids_mmh.runtime.workflow_run import run_sessions

SBATCH = """#!{python}
import os, pathlib, subprocess, sys
jobs = pathlib.Path({jobs!r})
number = 1 + len(list(jobs.glob("*.args")))
(jobs / f"{{number}}.args").write_text(" ".join(sys.argv[1:-1]))
script = sys.argv[-1]
assert open(script).readline() == "#!/bin/bash\\n"
log = open(sys.argv[sys.argv.index("-o") + 1].replace("%j", str(number)), "w")
job = subprocess.Popen(["bash", script], stdout=log, stderr=log, start_new_session=True)
(jobs / f"{{number}}.pid").write_text(str(job.pid))
print(f"Submitted batch job {{number}}")
"""

SQUEUE = """#!{python}
import pathlib, sys
number = sys.argv[sys.argv.index("-j") + 1]
pid = (pathlib.Path({jobs!r}) / f"{{number}}.pid").read_text()
try:
    state = open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[0]
except FileNotFoundError:
    state = "Z"
if state == "Z":
    sys.exit("slurm_load_jobs error: Invalid job id specified")
print(number, "R")
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder of the jobs that were submitted."""
    commands, jobs = tmp_path / "bin", tmp_path / "jobs"
    for folder in (commands, jobs):
        folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE)):
        (commands / name).write_text(text.format(python=sys.executable, jobs=str(jobs)))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("LOGNAME", raising=False)  # as with --cleanenv
    return jobs


def on_gpu(use_gpu):
    return use_gpu


def a_bug():
    raise ZeroDivisionError("division by zero")


@pytest.mark.timeout(180)
def test_steps_are_jobs_that_ask_for_what_they_need(tmp_path, slurm):
    session = Workflow("sub_003")
    fine = Node(Function(function=on_gpu, output_names=["out"]), "fine_t1w1", n_procs=2, mem_gb=1.5)
    fine.inputs.use_gpu = True
    session.add_nodes([fine, Node(Function(function=a_bug, output_names=["out"]), "bug_t1w1")])
    file = tmp_path / "slurm.yml"
    file.write_text("plugin: SLURM\nplugin_args: {sbatch_args: '-p long', poll_sleep_duration: 0.2}\n")
    seen, failures = [], []
    run_sessions(
        [session],
        SimpleNamespace(
            nipype_plugin_file=file,
            nprocs=1,
            stop_on_first_crash=False,
            profile=False,
            work_dir=tmp_path / "work",
        ),
        crash_dir=tmp_path / "crash",
        callbacks=[lambda node, status: seen.append((node.name, status))],
        ended=lambda name, failed: failures.extend(failed),
    )
    assert ("fine_t1w1", "end") in seen
    assert [(failure.node, failure.code) for failure in failures] == [("bug_t1w1", ExitCode.DATA)]
    assert "ZeroDivisionError" in failures[0].sentence
    asked = sorted(path.read_text() for path in slurm.glob("*.args"))
    assert asked[0].startswith("--cpus-per-task=1 --mem=200M -p long")
    assert asked[1].startswith("--cpus-per-task=2 --mem=1500M --gres=gpu:1 -p long")
