"""Stage II from derivatives to a model folder, in one call or one command."""

import csv
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bids_mmh.cli.train import main
from bids_mmh.errors import ExitCode
from bids_mmh.method.harmonizer import Harmonizer, read_config
from bids_mmh.method.model_files import model_sha256
from bids_mmh.training.engine import Compute
from bids_mmh.training.run import StudyOptions, train

CPU = Compute("cpu")
RECIPE = """
[model]
preset = "tiny"
[[phase]]
spacing = 16.0
steps = 1
[training]
seed = 5
travelling = "train"
[stage2]
steps = 2
learning_rate = 1e-3
aggregator_steps = 10
accumulate = 3
backprop_steps = 2
target_site = "beta"
encoder = "{encoder}"
slices = 3
weight_average = 0.0
validate_every = 2
"""


@pytest.fixture
def stage1(stage1_model, tmp_path):
    """The folder of a Stage I model."""
    stage1_model.save_pretrained(tmp_path / "stage1")
    return tmp_path / "stage1"


@pytest.fixture
def recipe_file(tmp_path, small_encoder):
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE.format(encoder=small_encoder))
    return file


@pytest.fixture
def begin(unified, tmp_path):
    """Make the folder of a model whose training on ``two_sites`` has applied Stage I to its scans."""

    def begin(name):
        shutil.copytree(unified, tmp_path / name / "training")
        return tmp_path / name

    return begin


def rows_of(folder, name="losses"):
    with (folder / "training" / "stage2" / f"{name}.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_both_stages_in_one_call(two_sites, two_stages, tmp_path):
    model = train(two_stages, [two_sites], tmp_path / "m", compute=CPU)
    loaded = Harmonizer.from_pretrained(tmp_path / "m")
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items())
    target = read_config(tmp_path / "m").target
    assert (target.site, target.encoder, target.aggregation) == ("alpha", "small", "attention")
    unified = Harmonizer.from_pretrained(tmp_path / "m" / "stage1")
    assert unified.config == two_stages.model
    for name, value in unified.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    rows = rows_of(tmp_path / "m")
    assert [(row["step"], row["split"]) for row in rows] == [
        *(("0", "train"), ("1", "train"), ("1", "validation")),
        *(("2", "train"), ("3", "train"), ("3", "validation")),
    ]
    for row in rows:
        terms = ("style", "consistency", "gradient", "contrast", "guard")
        parts = sum(float(row[name]) for name in terms)
        assert float(row["total"]) == pytest.approx(parts, abs=3e-6)
    ranking = rows_of(tmp_path / "m", "target_sites")
    assert {row["site"]: row["target"] for row in ranking} == {"alpha": "yes", "beta": "no"}


def test_scans_of_test_subjects_are_never_read(sites, two_stages, stage1, tmp_path):
    for subject in ("02", "07", "08"):  # fewer are soon read
        shutil.rmtree(sites / f"sub-{subject}")
    spoilt = list((sites / "sub-03").rglob("*.nii.gz"))
    for file in spoilt:
        file.write_bytes(b"not an image")
    options = StudyOptions(test_subjects=("03",), stage1=stage1)
    short = replace(two_stages, stage2=replace(two_stages.stage2, steps=1))
    model = train(short, [sites], tmp_path / "m", compute=CPU, options=options)
    assert len(spoilt) == 3
    assert model.config.target.site == "alpha"


def test_a_resumed_run_repeats_an_unbroken_one(
    two_sites, two_stages, stage1, begin, monkeypatch, interrupt_after
):
    """Killed in its fourth step, it goes on from the checkpoint after the second."""
    options = StudyOptions(stage1=stage1)
    unbroken_folder, broken_folder = begin("unbroken"), begin("broken")
    unbroken = train(two_stages, [two_sites], unbroken_folder, compute=CPU, options=options)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(two_stages, [two_sites], broken_folder, compute=CPU, options=options)
    assert len(rows_of(broken_folder)) == 4
    resumed = train(two_stages, [two_sites], broken_folder, compute=CPU, options=options)
    assert rows_of(broken_folder) == rows_of(unbroken_folder)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_best_average_is_kept(two_sites, two_stages, stage1, begin, tmp_path):
    """At a learning rate that destroys the network, what remains is the validation that was best."""
    stage2 = replace(two_stages.stage2, learning_rate=0.3, validate_every=1)
    train(
        replace(two_stages, stage2=stage2),
        [two_sites],
        begin("m"),
        compute=CPU,
        options=StudyOptions(stage1=stage1),
    )
    state = torch.load(tmp_path / "m" / "training" / "stage2" / "checkpoint.pt", weights_only=True)
    totals = [float(row["total"]) for row in rows_of(tmp_path / "m") if row["split"] == "validation"]
    assert len(totals) == 4
    assert state["best"]["total"] == pytest.approx(min(totals), abs=1e-5)
    saved = load_file(tmp_path / "m" / "model.safetensors")
    assert torch.equal(
        saved["target_network.head.bias"], state["best"]["averages"]["averages.network.module.head.bias"]
    )


def test_to_another_site_by_one_command(two_sites, stage1, recipe_file, begin, tmp_path):
    before = model_sha256(stage1)
    command = [str(recipe_file), str(begin("m")), str(two_sites), "--device", "cpu"]
    command += ["--stage1", str(stage1)]
    assert main([*command, "--target-site", "alpha"]) == 0
    assert read_config(tmp_path / "m").target.site == "alpha"  # and not beta, as the recipe has it
    assert not (tmp_path / "m" / "training" / "stage1").exists()
    cache = sorted((tmp_path / "m" / "training" / "stage2" / "stage1_cache").iterdir())
    times = [file.stat().st_mtime_ns for file in cache]
    assert main(command) == 0
    assert read_config(tmp_path / "m").target.site == "beta"
    assert [file.stat().st_mtime_ns for file in cache] == times  # Stage I of the scans is as it was
    assert model_sha256(stage1) == before


def test_a_stage_two_model_can_be_fine_tuned_anew(two_sites, stage1, recipe_file, begin, tmp_path):
    """Its Stage I is in it."""
    command = [str(recipe_file), None, str(two_sites), "--device", "cpu", "--stage1", str(stage1)]
    command[1] = str(begin("a"))
    assert main([*command, "--target-site", "alpha"]) == 0
    command[1], command[-1] = str(begin("b")), str(tmp_path / "a")
    assert main(command) == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert torch.equal(one["network.head.bias"], other["network.head.bias"])
    assert not torch.equal(one["target_records.mean"], other["target_records.mean"])


def test_a_site_that_is_not_there(two_sites, stage1, recipe_file, tmp_path, capsys):
    command = [str(recipe_file), str(tmp_path / "m"), str(two_sites), "--stage1", str(stage1)]
    assert main([*command, "--device", "cpu", "--target-site", "gamma"]) == ExitCode.USAGE
    assert "from the site 'gamma': there are alpha, beta." in capsys.readouterr().err


def test_a_site_that_is_not_there_is_found_before_anything_is_trained(two_sites, recipe_file, tmp_path):
    command = [str(recipe_file), str(tmp_path / "m"), str(two_sites), "--device", "cpu"]
    assert main([*command, "--target-site", "gamma"]) == ExitCode.USAGE
    assert not (tmp_path / "m").exists()


@pytest.mark.timeout(600)
def test_two_processes_train_what_one_trains(two_sites, stage1, recipe_file, begin, tmp_path):
    """Three sources a step: one process has two of them, the other one; and both apply Stage I to scans."""
    begin("two")
    for file in sorted((tmp_path / "two" / "training" / "stage2" / "stage1_cache").iterdir())[::5]:
        file.unlink()
    arguments = [str(two_sites), "--device", "cpu", "--precision", "32-true", "--stage1", str(stage1)]
    launch = [sys.executable, Path(__file__).parents[1] / "two_processes.py", "command"]
    done = subprocess.run(
        [*launch, recipe_file, tmp_path / "two", *arguments], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    assert main([str(recipe_file), str(begin("one")), *arguments]) == 0
    two, one = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    names = [name for name in one if name.startswith("target_network")]
    # single weights whose gradient is next to nothing may step either way
    apart, moved = (
        torch.cat([(one[name] - reference(name)).flatten() for name in names]).norm()
        for reference in (two.get, lambda name: one[name.removeprefix("target_")])
    )
    assert moved > 0.05
    assert apart < 0.02 * moved
    for name in one.keys() - set(names):
        torch.testing.assert_close(two[name], one[name])
    for ours, theirs in zip(rows_of(tmp_path / "two"), rows_of(tmp_path / "one"), strict=True):
        assert (ours["step"], ours["split"]) == (theirs["step"], theirs["split"])
        for term in ("total", "style", "consistency", "gradient", "guard"):
            assert float(ours[term]) == pytest.approx(float(theirs[term]), rel=0.02, abs=1e-3), term
    assert rows_of(tmp_path / "two", "target_sites") == rows_of(tmp_path / "one", "target_sites")
