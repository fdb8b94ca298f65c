from dataclasses import replace

import pytest
import torch

import bids_mmh.training.data.volume_cache as caching
from bids_mmh.errors import UsageError
from bids_mmh.training.data.scans import load_on_grid
from bids_mmh.training.engine import Compute
from bids_mmh.training.recipe import Augmentation
from bids_mmh.training.run import StudyOptions, _split_table, train

CPU = Compute("cpu")


@pytest.fixture
def short(recipe):
    return replace(recipe, phases=(replace(recipe.phases[0], steps=2),))


def test_test_subjects_are_never_read(derivatives, short, tmp_path, monkeypatch):
    read = []

    def watched(scan, shape):
        read.append(scan.subject)
        return load_on_grid(scan, shape)

    monkeypatch.setattr(caching, "load_on_grid", watched)
    train(short, [derivatives], tmp_path / "m", compute=CPU, options=StudyOptions(test_subjects=("02",)))
    assert set(read) == {"sub-01", "sub-03"}
    assert "sub-02\ttest" in (tmp_path / "m" / "training" / "split.tsv").read_text().splitlines()


def test_a_split_can_be_used_again(derivatives, short, tmp_path, losses_of):
    table = tmp_path / "split.tsv"
    table.write_text("participant_id\tsplit\nsub-01\ttest\nsub-02\tvalidation\nsub-03\ttrain\n")
    first = train(short, [derivatives], tmp_path / "a", compute=CPU, options=StudyOptions(split=table))
    written = tmp_path / "a" / "training" / "split.tsv"
    again = train(short, [derivatives], tmp_path / "b", compute=CPU, options=StudyOptions(split=written))
    assert written.read_text() == (tmp_path / "b" / "training" / "split.tsv").read_text()
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b")
    assert torch.equal(first.records.histogram, again.records.histogram)


def test_another_split_starts_anew(derivatives, short, tmp_path, caplog):
    train(short, [derivatives], tmp_path / "m", compute=CPU)
    train(short, [derivatives], tmp_path / "m", compute=CPU, options=StudyOptions(test_subjects=("01",)))
    assert "on other scans: training starts anew" in caplog.text


def test_readers_do_not_change_the_result(derivatives, short, tmp_path, losses_of):
    augmented = replace(short, augmentation=Augmentation(flip=True, shift=1, gamma=0.1))
    for workers in (0, 1):  # how several of them take turns is in data/test_loader.py
        compute = replace(CPU, workers=workers)
        train(augmented, [derivatives], tmp_path / str(workers), compute=compute)
    assert losses_of(tmp_path / "0") == losses_of(tmp_path / "1")
    train(short, [derivatives], tmp_path / "plain", compute=CPU)
    assert losses_of(tmp_path / "plain") != losses_of(tmp_path / "0")


def test_recomputed_activations_give_the_same_losses(derivatives, short, tmp_path, losses_of):
    train(short, [derivatives], tmp_path / "kept", compute=CPU)
    recomputed = replace(short, activation_checkpointing=True)
    train(recomputed, [derivatives], tmp_path / "recomputed", compute=CPU)
    assert losses_of(tmp_path / "kept") == losses_of(tmp_path / "recomputed")


@pytest.mark.parametrize(
    "options", [{"stage1": "old"}, {"target_site": "alpha"}, {"encoder": "embedded"}], ids=str
)
def test_options_of_stage_two_need_its_table(derivatives, short, tmp_path, options):
    with pytest.raises(UsageError, match=r"add a \[stage2\] table"):
        train(short, [derivatives], tmp_path / "m", compute=CPU, options=StudyOptions(**options))


def test_stage_two_keeps_the_split_of_its_stage_one(tmp_path):
    table = tmp_path / "old" / "training" / "split.tsv"
    assert _split_table(StudyOptions(stage1=tmp_path / "old")) is None
    table.parent.mkdir(parents=True)
    table.touch()
    assert _split_table(StudyOptions(stage1=tmp_path / "old")) == table
    assert _split_table(StudyOptions(stage1=tmp_path / "old", split=tmp_path / "b.tsv")) == tmp_path / "b.tsv"
    assert _split_table(StudyOptions()) is None
