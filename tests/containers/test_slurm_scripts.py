"""The job scripts with stand-ins of SLURM and Apptainer: who runs what, with which files and options."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "singularity" / "slurm"
APPTAINER = '#!/bin/bash\necho "$APPTAINERENV_CUDA_VISIBLE_DEVICES|$*" >> "$CALLS"\nexit "${CODE:-0}"\n'
SBATCH = '#!/bin/bash\necho "sbatch $*" >> "$CALLS"\necho $(wc -l < "$CALLS")\n'
SRUN = '#!/bin/bash\n[ "$1" = --kill-on-bad-exit=1 ] && shift\nexec "$@"\n'
# More names than a pipe holds, as of a large job.
SCONTROL = '#!/bin/bash\nset -e\nfor number in {1..20000}; do echo "node$number"; done\n'


@pytest.fixture
def study(tmp_path):
    """A copy of the scripts with a study of five participants."""
    folder = tmp_path / "jobs"
    shutil.copytree(SCRIPTS, folder)
    (tmp_path / "bids").mkdir()
    rows = [f"{age}\tsub-{label}\tx\r" for age, label in enumerate(("03", "01", "05", "02", "04"))]
    (tmp_path / "bids" / "participants.tsv").write_text(
        "\n".join(["age\tparticipant_id\tsite\r", *rows]) + "\n"
    )
    settings = folder / "study.sh"
    text = settings.read_text().replace("/project/study/bids", str(tmp_path / "bids"))
    text = text.replace("/project/study/derivatives/bids-mmh", str(tmp_path / "out"))
    settings.write_text(
        text.replace("/scratch/$USER", str(tmp_path / "scratch")).replace("SLICES=8", "SLICES=3")
    )
    commands = tmp_path / "bin"
    commands.mkdir()
    stand_ins = {"apptainer": APPTAINER, "sbatch": SBATCH, "srun": SRUN, "scontrol": SCONTROL}
    for name, script in stand_ins.items():
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    return tmp_path


def run(study, script, *options, code=0, task=None, **environ):
    calls = study / "calls"
    calls.write_text("")
    environ |= {
        "PATH": f"{study / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "SLURM_CPUS_PER_TASK": "2",
    }
    if task is not None:
        environ["SLURM_ARRAY_TASK_ID"] = str(task)
    finished = subprocess.run(
        ["bash", script, *options],
        cwd=study / "jobs",
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == code, finished.stderr
    return finished.stdout, calls.read_text().splitlines()


def test_a_task_preprocesses_its_own_participant(study):
    for task in range(1, 6):
        _, (call,) = run(study, "preprocess.sh", task=task)
        assert f"--participant-label sub-0{task} --preproc-only" in call
        assert "--cleanenv --no-home" in call
        assert "--nv" not in call
        assert f"--bind {study / 'bids'}:/data:ro" in call
        assert (study / "out" / "logs" / "slurm" / "preprocess" / str(task)).read_text() == "0\n"
    run(study, "preprocess.sh", task=6, code=64)


def test_slices_hold_every_participant_once_and_keep_their_gpu(study):
    seen = []
    for task in (1, 2, 3):
        _, (call,) = run(
            study, "harmonize.sh", "--model", "/out/models/study", task=task, CUDA_VISIBLE_DEVICES="2"
        )
        assert call.startswith("2|run --nv")
        assert call.endswith("--model /out/models/study --work-dir /work")
        seen += [word for word in call.split() if word.startswith("sub-")]
    assert sorted(seen) == [f"sub-0{number}" for number in range(1, 6)]


def test_all_gpus_of_a_job_train_one_model(study):
    given = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "77"}
    _, (call,) = run(study, "fit.sh", "--target-site", "A", **given)
    assert "/data /out group --fit all --device cuda --target-site A" in call
    assert call.startswith("|run --nv --cleanenv")


def test_what_slurm_says_of_a_task_reaches_the_image(study):
    (study / "bin" / "apptainer").write_text('#!/bin/bash\nenv | grep ^APPTAINERENV_ > "$CALLS"\n')
    given = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "77", "SLURM_PROCID": "3", "SECRET": "x"}
    _, passed = run(study, "fit.sh", **given)
    assert {"APPTAINERENV_SLURM_PROCID=3", "APPTAINERENV_MASTER_ADDR=node1"} <= set(passed)
    assert "APPTAINERENV_MASTER_PORT=20077" in passed
    assert not [line for line in passed if "SECRET" in line]


def test_the_chain_waits_for_each_stage(study):
    said, calls = run(study, "submit.sh")
    assert calls == [
        "sbatch --parsable --array=1-5%100 preprocess.sh",
        "sbatch --parsable --dependency=afterany:1 --array=1-3 harmonize.sh",
        "sbatch --parsable --dependency=afterany:2 group.sh",
    ]
    assert said == "5 participants: jobs 1, 2, 3\n"
    assert "sbatch --parsable --dependency=afterany:1 fit.sh" in run(study, "submit.sh", "--fit")[1]


def test_what_failed_or_never_ended_is_submitted_again(study):
    for task, code in ((1, 0), (2, 65), (3, 0)):
        run(study, "preprocess.sh", task=task, code=code, CODE=str(code))
    (study / "out" / "logs" / "slurm" / "preprocess" / "4").write_text("running\n")  # killed by the system
    said, calls = run(study, "resubmit.sh", "preprocess")
    assert said.splitlines()[:3] == ["2\t65", "4\trunning", "5\tnot started"]
    assert calls == ["sbatch --array=2,4,5 preprocess.sh"]
    for task in (2, 4, 5):
        run(study, "preprocess.sh", task=task)
    assert run(study, "resubmit.sh", "preprocess") == ("All 5 tasks ended well.\n", [])
    run(study, "resubmit.sh", "nothing", code=64)
