"""A run that is killed, in a process of its own, and started again."""

import signal
import subprocess
import sys
import time

import pytest

STEPS = 36
RECIPE = f"""
[model]
preset = "tiny"
spacing = 16.0
bins = 20
[training]
seed = 5
max_timestep = 120
validate_every = 4
[[phase]]
spacing = 16.0
steps = {STEPS}
learning_rate = 1e-3
accumulate = 1
"""


def run(*arguments):
    command = [sys.executable, "-m", "bids_mmh.cli.train", *map(str, arguments), "--device", "cpu"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def rows(folder):
    file = folder / "training" / "stage1" / "losses.tsv"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.timeout(600)
def test_killed_and_started_again_it_ends_as_if_unbroken(derivatives, tmp_path):
    from bids_mmh.training.engine import Compute
    from bids_mmh.training.recipe import load_recipe
    from bids_mmh.training.run import train

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    process = run(recipe, tmp_path / "broken", derivatives)
    while len(rows(tmp_path / "broken")) < 9 and process.poll() is None:  # a checkpoint and some steps
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    broken = rows(tmp_path / "broken")
    assert 9 <= len(broken) < STEPS
    assert not (tmp_path / "broken" / "model.safetensors").exists()

    train(load_recipe(recipe), [derivatives], tmp_path / "broken", compute=Compute("cpu"))
    train(load_recipe(recipe), [derivatives], tmp_path / "whole", compute=Compute("cpu"))
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")
    assert len(rows(tmp_path / "whole")) == 1 + STEPS + STEPS // 4
    assert (tmp_path / "broken" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
