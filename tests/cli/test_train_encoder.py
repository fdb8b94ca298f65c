from pathlib import Path

import pytest

import bids_mmh.training.slice_encoder.training as training
from bids_mmh.cli.train_encoder import main
from bids_mmh.errors import BadDataError, ExitCode
from bids_mmh.training.slice_encoder.training import EncoderRecipe


@pytest.fixture
def asked(monkeypatch):
    """What training was asked for, instead of training."""
    calls = []
    monkeypatch.setattr(
        training, "train_encoder", lambda *arguments, **options: calls.append((arguments, options))
    )
    return calls


def test_options_reach_the_training(asked):
    assert main(["out", "one", "two", "--steps", "7", "--seed", "0", "--threads", "2"]) == ExitCode.OK
    ((recipe, derivatives, output), options) = asked[0]
    assert (recipe.steps, recipe.seed) == (7, 0)
    assert (derivatives, output, options) == ([Path("one"), Path("two")], Path("out"), {"threads": 2})


def test_the_recipe_has_the_defaults(asked):
    main(["out", "one"])
    assert asked[0][0][0] == EncoderRecipe()


def test_error_is_one_sentence_and_its_code(monkeypatch, capsys):
    def fail(*_, **__):
        raise BadDataError("scan.nii.gz is broken: replace it.")

    monkeypatch.setattr(training, "train_encoder", fail)
    assert main(["out", "one"]) == ExitCode.DATA
    assert capsys.readouterr().err == "bids-mmh-train-encoder: error: scan.nii.gz is broken: replace it.\n"


@pytest.mark.parametrize(
    "arguments", [[], ["out"], ["out", "one", "--steps", "0"], ["out", "one", "--wings"]]
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == ExitCode.USAGE
    assert "bids-mmh-train-encoder: error:" in capsys.readouterr().err
