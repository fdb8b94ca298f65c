import pytest
import torch

from bids_mmh.brain_mask.network import load_mask_network
from bids_mmh.cli.train_brain_mask import main
from bids_mmh.errors import ExitCode
from bids_mmh.training.brain_mask import training
from bids_mmh.training.brain_mask.training import MaskRecipe, RandomScans, read_heads, train_mask_network


def recipe(steps):
    return MaskRecipe(steps=steps, batch=1, held_out=("head02",), save_every=2)


def state(path):
    return load_mask_network(path).state_dict()


def test_a_training_that_was_interrupted_ends_where_an_unbroken_one_does(labels, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train_mask_network(recipe(4), labels, whole, threads=1, workers=0)

    advance = training._Training.advance

    def until_three(self, batch):
        if self.step == 3:
            raise KeyboardInterrupt
        return advance(self, batch)

    monkeypatch.setattr(training._Training, "advance", until_three)
    with pytest.raises(KeyboardInterrupt):
        train_mask_network(recipe(4), labels, parts, threads=1, workers=0)
    monkeypatch.undo()
    assert not same(state(whole), state(parts))
    train_mask_network(recipe(4), labels, parts, threads=1, workers=0)
    assert same(state(whole), state(parts))


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_held_out_heads_are_not_trained_on(labels):
    heads = read_heads(labels, ("head02",))
    assert len(heads) == 1
    scans = iter(RandomScans(heads, seed=1))
    first, again = next(scans)[0], next(iter(RandomScans(heads, seed=1)))[0]
    assert torch.equal(first, again)
    assert torch.equal(next(scans)[0], next(iter(RandomScans(heads, seed=1, first=1)))[0])


@pytest.mark.parametrize("option", [["--steps", "0"], ["--threads", "0"], ["--workers", "-1"]])
def test_numbers_that_make_no_sense_are_refused_in_a_sentence(tmp_path, capsys, option):
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), str(tmp_path / "out.safetensors"), *option])
    assert ended.value.code == ExitCode.USAGE
    assert f"argument {option[0]}: invalid" in capsys.readouterr().err


def test_nothing_to_train_on_is_one_sentence(labels, tmp_path, capsys):
    assert main([str(tmp_path), str(tmp_path / "out.safetensors")]) == ExitCode.NO_INPUT
    assert "has no *_dseg.nii.gz to train on" in capsys.readouterr().err
