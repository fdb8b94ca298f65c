"""Fine-tuning beside the same networks without it."""

from dataclasses import replace

import pytest
import torch

from bids_mmh.group import fit_check
from bids_mmh.group.fit_check import Closeness, FitCheck, check_fit
from bids_mmh.method.config import PRESETS, TargetConfig
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.training.data.scans import find_scans


@pytest.fixture
def random_target_model(tmp_path):
    """Folder of a model with random weights, as if it were fine-tuned to the site b."""
    torch.manual_seed(0)
    config = replace(
        PRESETS["tiny"],
        sequences=("T1w",),
        spacing=8.0,
        shape=model_grid(8.0).shape,
        inversion_steps=2,
        sampling_steps=2,
        target=TargetConfig("b", "none", "0" * 64, "attention"),
    )
    Harmonizer(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("fitted", "untrained", "better"),
    [
        ((0.01, 0.99), (0.02, 0.99), True),
        ((0.02, 0.99), (0.01, 0.99), False),
        ((0.01, 0.97), (0.02, 0.99), False),
        ((0.01, 0.99), (0.01, 0.99), False),
    ],
)
def test_it_is_better_if_nearer_and_the_anatomy_is_kept(fitted, untrained, better):
    check = FitCheck("T1w", 4, Closeness(*fitted), Closeness(*untrained))
    assert check.is_better is better
    assert ("NOT better" in check.sentence) is not better


def test_scans_that_are_at_the_site_already_or_trained_it_do_not_count(study, random_target_model, caplog):
    scans = find_scans([study], ["T1w"])
    elsewhere = {scan.subject for scan in scans if scan.fields.site == "a"}
    validation = sorted(elsewhere)[:2]
    (check,) = check_fit(random_target_model, scans, "b", validation)
    assert check.scans == 2
    assert "2 validation scans" in caplog.text
    assert check_fit(random_target_model, scans, "b", ()) == []


def test_a_model_that_turns_every_scan_into_noise_is_not_better(study, random_target_model, monkeypatch):
    scans = find_scans([study], ["T1w"])
    validation = [scan.subject for scan in scans if scan.fields.site == "a"]
    rows = fit_check._rows

    def noisy(model, goal, scans):
        made = rows(model, goal, scans)
        return made if model is goal else ((wd, anatomy - 0.5) for wd, anatomy in made)

    monkeypatch.setattr(fit_check, "_rows", noisy)
    (check,) = check_fit(random_target_model, scans, "b", validation)
    assert not check.is_better
