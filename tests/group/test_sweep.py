import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_mmh.errors import CannotCreateError, UsageError
from bids_mmh.group.sweep import SweepOptions, run_sweep
from bids_mmh.method.config import PRESETS, TargetConfig
from bids_mmh.method.harmonizer import Harmonizer, read_config

SHAPE = (9, 12, 12)
FAST = SweepOptions(depths=(4, 20), inversion_steps=(2, 5), sampling_steps=(2,), spacing=16.0, device="cpu")


@pytest.fixture
def derivatives(write_derivative, tmp_path):
    """Three subjects at two sites, the second brighter; the third was at both."""
    mask = np.zeros(SHAPE)
    mask[1:-1, 1:-1, 1:-1] = 1
    for subject, site in (("1", "a"), ("2", "b"), ("3", "a"), ("3", "b")):
        image = np.random.default_rng(int(subject)).uniform(50, 110 if site == "a" else 150, SHAPE)
        entities = {"subject": subject, "session": site}
        write_derivative(tmp_path / "out", entities, image, mask, scaling=(0.012, -1.2), site=site)
    return tmp_path / "out"


def save_model(folder, target=None):
    torch.manual_seed(0)
    network = replace(PRESETS["tiny"].network, patch=1)
    model = Harmonizer(
        replace(PRESETS["tiny"], network=network, bins=20, spacing=16.0, shape=SHAPE, target=target)
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    for index in range(2):
        model.records.mean[index], model.records.std[index] = 0.0, 0.4
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "model")


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_all_settings_are_in_the_table_and_the_best_is_applied(model, derivatives, tmp_path):
    (model / "training").mkdir()
    split = model / "training" / "split.tsv"
    split.write_text("participant_id\tsplit\nsub-1\ttrain\nsub-2\tvalidation\nsub-3\ttest\n")
    text = run_sweep(
        str(model), [derivatives], tmp_path / "s" / "sweep", replace(FAST, apply=tmp_path / "tuned")
    )
    rows = rows_of(tmp_path / "s" / "sweep.tsv")
    assert [row["depth"] for row in rows] == ["n/a", "4", "20", "20"]
    assert float(rows[0]["ssim"]) == pytest.approx(1)
    assert (tmp_path / "s" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert "2 scans of 2 subjects from 2 sites at 16 mm" in text  # not the test subject
    assert "its own input" in text
    tuned, before = read_config(tmp_path / "tuned"), read_config(model)
    assert f"Best: depth {tuned.depth}, {tuned.inversion_steps} inversion steps" in text
    assert str(tuned.depth) in {row["depth"] for row in rows[1:]}
    setting = {"depth": tuned.depth, "inversion_steps": tuned.inversion_steps, "sampling_steps": 2}
    assert replace(before, **setting) == tuned
    weights = [folder / "model.safetensors" for folder in (model, tmp_path / "tuned")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert (tmp_path / "tuned" / "training" / "split.tsv").read_text() == split.read_text()


def test_travelling_subjects_give_the_ssim_between_sites(model, derivatives, tmp_path):
    text = run_sweep(str(model), [derivatives], tmp_path / "sweep", FAST)
    assert "4 scans of 3 subjects" in text
    assert "between scans of one subject at different sites" in text
    assert float(rows_of(tmp_path / "sweep.tsv")[0]["ssim"]) < 0.99


def test_an_interrupted_sweep_leaves_what_it_has(model, derivatives, tmp_path, monkeypatch):
    import bids_mmh.training.sweep.depth_sweep as sweeping

    whole = sweeping.sweep

    def stops(*given):
        yield next(whole(*given))
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeping, "sweep", stops)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(str(model), [derivatives], tmp_path / "sweep", FAST)
    assert len(rows_of(tmp_path / "sweep.tsv")) == 2


def test_a_stage_2_model_keeps_its_depth(derivatives, tmp_path):
    target = TargetConfig("a", "embedded", "0" * 64, "attention")
    model = save_model(tmp_path / "two", target)
    with pytest.raises(UsageError, match="Stage I model"):
        run_sweep(str(model), [derivatives], tmp_path / "sweep", replace(FAST, apply=tmp_path / "tuned"))


def test_a_model_is_never_overwritten(model, derivatives, tmp_path):
    with pytest.raises(CannotCreateError, match="not an empty folder"):
        run_sweep(str(model), [derivatives], tmp_path / "sweep", replace(FAST, apply=model))
