from pathlib import Path

import pytest

import bids_mmh.training.run as run
from bids_mmh.cli.train import main
from bids_mmh.errors import BadDataError, ExitCode
from bids_mmh.training.engine import Compute
from bids_mmh.training.run import StudyOptions


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text("[model]\npreset = 'tiny'\n[[phase]]\nspacing = 4.0\nsteps = 3\n")
    return str(file)


@pytest.fixture
def asked(monkeypatch):
    """What training was asked for, instead of training."""
    calls = []
    monkeypatch.setattr(run, "train", lambda *arguments, **options: calls.append((arguments, options)))
    return calls


def test_options_reach_the_training(recipe, asked):
    machine = ["--device", "cuda", "--devices", "2", "--num-nodes", "3"]
    machine += ["--precision", "32-true", "--workers", "0"]
    study = ["--split", "split.tsv", "--stage1", "old", "--target-site", "S", "--encoder", "clip"]
    assert main([recipe, "model", "one", "two", "--test-subjects", "01", "sub-02", *machine, *study]) == 0
    ((read, derivatives, output), named) = asked[0]
    assert (read.model.name, read.phases[0].steps) == ("tiny", 3)
    assert (derivatives, output) == ([Path("one"), Path("two")], Path("model"))
    assert named == {
        "compute": Compute("cuda", devices=2, num_nodes=3, precision="32-true", workers=0),
        "options": StudyOptions(Path("split.tsv"), ("01", "sub-02"), Path("old"), "S", "clip"),
    }


def test_the_machine_is_chosen_by_default(recipe, asked):
    main([recipe, "model", "one"])
    assert asked[0][1] == {"compute": Compute(), "options": StudyOptions()}


@pytest.mark.parametrize(
    ("table", "options", "sentence"),
    [
        ("", ["--stage1", "old"], "add a [stage2] table"),
        ("", ["--target-site", "S"], "add a [stage2] table"),
        ("[stage2]\nsteps = 0\n", [], "wrong value of 'steps'"),
    ],
)
def test_stage_two(recipe, table, options, sentence, capsys):
    with Path(recipe).open("a") as stream:
        stream.write(table)
    assert main([recipe, "model", "one", *options]) == ExitCode.USAGE
    assert sentence in capsys.readouterr().err


def test_error_is_one_sentence_and_its_code(recipe, monkeypatch, capsys):
    def fail(*_, **__):
        raise BadDataError("scan.nii.gz is broken: replace it.")

    monkeypatch.setattr(run, "train", fail)
    assert main([recipe, "model", "one"]) == ExitCode.DATA
    assert capsys.readouterr().err == "bids-mmh-train: error: scan.nii.gz is broken: replace it.\n"


def test_recipe_that_is_missing(tmp_path, asked, capsys):
    assert main([str(tmp_path / "none.toml"), "model", "one"]) == ExitCode.USAGE
    assert "none.toml cannot be read" in capsys.readouterr().err
    assert not asked


@pytest.mark.parametrize(
    "arguments", [[], ["recipe.toml"], ["a", "b", "c", "--wings"], ["a", "b", "c", "--devices", "0"]]
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == ExitCode.USAGE
    assert "bids-mmh-train: error:" in capsys.readouterr().err
