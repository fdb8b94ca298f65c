"""The GPU script as a bare machine runs it, but on the CPU and at the size of toys."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.precision import has_native_bf16

ROOT = Path(__file__).parents[2]
BLOCKED = (
    *("safetensors", "nibabel", "pydantic", "monai", "SimpleITK", "lightning_fabric", "pandas", "open_clip"),
    *("nipype", "nilearn", "matplotlib", "scipy", "sklearn"),
)
NAMES = ("head01", "head12", "head05", "head06")  # two that the recipe holds out, two that it trains on


@pytest.fixture(scope="module")
def anatomies(write_anatomies, tmp_path_factory):
    """Four small anatomies of one kind."""
    sizes = dict(zip(NAMES, (0.95, 1.0, 1.05, 1.1), strict=True))
    return write_anatomies(tmp_path_factory.mktemp("anatomies") / "all", sizes)


@pytest.fixture
def script(monkeypatch):
    """Import a script of ``benchmarks/gpu`` into this process."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.gpu.{name}")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Environment of a machine that has PyTorch and NumPy alone."""
    folder = tmp_path_factory.mktemp("bare")
    for name in BLOCKED:
        (folder / f"{name}.py").write_text(f"raise ImportError('there is no {name} here')\n")
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def run(script, *arguments, env=None):
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu" / script), *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def rehearsed(anatomies, bare, tmp_path_factory):
    """Results of a rehearsal."""
    out = tmp_path_factory.mktemp("gpu") / "out"
    done = run("run.py", "--anatomies", anatomies, "--out", out, "--rehearse", env=bare)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_stage_comes_to_its_end_with_pytorch_and_numpy_alone(rehearsed):
    sections = json.loads((rehearsed / "results.json").read_text())
    assert list(sections) == ["checks", "speed", "training", "validation"]
    assert sections["checks"]["status"] == "8 of 8 passed", sections["checks"]["rows"]
    assert sections["training"]["status"] == "4 steps"
    speed = {(row[0], row[1], row[2]): row[3] for row in sections["speed"]["rows"]}
    assert len(speed) == 10
    assert [name for name, *_ in speed].count("MONAI stock") == 2
    in_hardware = has_native_bf16(torch.device("cpu"))
    for (name, precision, _), value in speed.items():
        if precision == "bf16" and not in_hardware:
            assert value == "not measured: not in hardware"
        elif name == "MONAI stock":
            assert value == "not compared: there is no monai here"
        else:
            assert isinstance(value, float)
    assert {row[1] for row in sections["validation"]["rows"]} == {"T1w", "T2w"}
    assert "## validation" in (rehearsed / "results.md").read_text()


def test_what_comes_back_is_small_and_few(rehearsed):
    files = list(rehearsed.iterdir())
    assert len(files) <= 8
    assert max(file.stat().st_size for file in files) < 16 * 2**20
    assert sum(file.stat().st_size for file in files) < 64 * 2**20


def test_the_best_checkpoint_becomes_a_model(rehearsed, script, tmp_path):
    assert script("to_model").main([str(rehearsed), str(tmp_path / "model")]) == 0
    model = Harmonizer.from_pretrained(tmp_path / "model")
    best = json.loads((rehearsed / "results.json").read_text())["validation"]["best"]
    average = torch.load(rehearsed / best, weights_only=True)["average"]
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, average[name].float())
    assert model.records.seen.any()


def test_training_goes_on_and_a_failed_stage_stops_no_other(rehearsed, anatomies, bare, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    newest = sorted(rehearsed.glob("*.pt"))[-1]
    (out / newest.name).write_bytes(newest.read_bytes())
    for path in anatomies.glob("labels/*.npz"):  # none is left for validation
        if path.stem not in ("head01", "head12"):
            (tmp_path / "some" / "labels").mkdir(parents=True, exist_ok=True)
            (tmp_path / "some" / "labels" / path.name).write_bytes(path.read_bytes())
    stages = ("--only", "validation", "training")
    done = run("run.py", "--anatomies", tmp_path / "some", "--out", out, "--rehearse", *stages, env=bare)
    assert done.returncode == 1
    sections = json.loads((out / "results.json").read_text())
    assert "held out by recipes/embedded.toml" in sections["validation"]["status"]
    assert sections["training"]["status"] == "8 steps"


def test_a_bundle_is_read_like_the_anatomies(anatomies, script, tmp_path, bare):
    done = run("pack.py", anatomies, tmp_path / "bundle", "--mib", "1", env=bare)
    assert done.returncode == 0
    for path in anatomies.glob("labels/*.npz"):
        with np.load(path) as before, np.load(tmp_path / "bundle" / "labels" / path.name) as after:
            assert set(before.files) == set(after.files)
            assert np.array_equal(before["first"], after["first"])
            assert np.abs(before["share"].astype(int) - after["share"]).max() <= 9
    assert script("pack").main([str(anatomies), str(tmp_path / "none"), "--mib", "0"]) == 1


def test_the_stock_network_is_measured_where_there_is_one(script):
    pytest.importorskip("monai")
    contender = script("speed").stock((16, 16, 16), torch.device("cpu"))
    assert contender.call().shape == (1, 1, 16, 16, 16)
