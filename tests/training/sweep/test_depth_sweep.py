from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_mmh.errors import UsageError
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.style.statistics import style_statistics
from bids_mmh.training.sweep.depth_sweep import (
    SamplingSetting,
    SettingMetrics,
    all_travelled,
    best_setting,
    measure,
    same_subject_pairs,
    sampling_settings,
    sweep,
    with_setting,
)


def make_scan(subject, site, sequence="T1w", *, shift=0.0, shape=(9, 12, 12)):
    draws = np.random.default_rng(sum(map(ord, subject)))
    mask = np.zeros(shape, dtype=bool)
    mask[1:-1, 1:-1, 1:-1] = True
    volume = np.where(mask, draws.uniform(-0.6, 0.4, shape) + shift, -1.0).astype(np.float32)
    return ScanArrays(f"{subject}_{site}_{sequence}", subject, site, sequence, volume, mask, (16.0,) * 3)


@pytest.fixture
def travellers():
    return [make_scan(s, site, shift=0.3 * (site == "b")) for s in ("sub-1", "sub-2") for site in "ab"]


@pytest.fixture
def model(tiny, travellers):
    torch.manual_seed(0)
    model = Harmonizer(tiny).eval()
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    scan = travellers[0]
    image, mask = (torch.from_numpy(array)[None, None] for array in (scan.preproc, scan.mask))
    model.records.initialise(torch.tensor([0]), style_statistics(image, mask, tiny.bins))
    return model


def test_combinations_that_do_not_fit_are_left_out():
    assert sampling_settings([10, 30], [5, 15], [5]) == [
        SamplingSetting(10, 5, 5),
        SamplingSetting(30, 5, 5),
        SamplingSetting(30, 15, 5),
    ]
    assert sampling_settings([4], [4, 4], [3]) == [SamplingSetting(4, 4, 3)]
    with pytest.raises(UsageError, match="--depths"):
        sampling_settings([4], [5], [3])


def test_a_walk_changes_the_sampling_and_nothing_else(model, tiny):
    tuned = with_setting(model, SamplingSetting(7, 3, 2))
    assert tuned.config == replace(tiny, depth=7, inversion_steps=3, sampling_steps=2)
    assert model.config == tiny
    assert tuned.network is model.network


def test_each_setting_is_measured_on_the_models_own_outputs(model, travellers):
    settings = [SamplingSetting(20, 2, 2), SamplingSetting(60, 4, 3)]
    found = list(sweep(model, travellers, settings))
    assert found[0] != found[1]
    tuned = with_setting(model, settings[1])
    outputs = []
    for scan in travellers:
        image, mask = (torch.from_numpy(array)[None, None] for array in (scan.preproc, scan.mask))
        outputs.append(replace(scan, preproc=tuned(image, mask, torch.tensor([0]))[0, 0].numpy()))
    assert found[1] == measure(travellers, outputs)
    assert found[1].wd < measure(travellers, travellers).wd / 3  # all go to one record


def test_a_stage_2_model_is_tried_in_its_first_stage(model, travellers, tiny):
    from bids_mmh.method.config import TargetConfig

    two = Harmonizer(replace(tiny, target=TargetConfig("a", "embedded", "0" * 64, "attention"))).eval()
    two.network.load_state_dict(model.network.state_dict())
    two.records.load_state_dict(model.records.state_dict())
    settings = [SamplingSetting(20, 2, 2)]
    assert list(sweep(two, travellers, settings)) == list(sweep(model, travellers, settings))


def test_ssim_is_between_sites_where_subjects_travelled(travellers):
    moved = measure(travellers, travellers)
    assert moved.ssim < 0.99
    assert moved.anatomy == pytest.approx(1.0)
    assert moved.wd == pytest.approx(0.3 / 2, abs=0.01)
    alone = [make_scan("sub-1", "a"), make_scan("sub-2", "b")]
    assert measure(alone, alone).ssim == pytest.approx(1.0)


def test_one_sequence_without_travellers_compares_all_with_their_input(travellers):
    both = [*travellers, make_scan("sub-1", "a", "T2w"), make_scan("sub-3", "b", "T2w")]
    assert all_travelled(travellers)
    assert not all_travelled(both)
    assert measure(both, both).ssim == pytest.approx(1.0)


def test_pairs_are_of_one_subject_at_two_sites(travellers):
    again = [*travellers, make_scan("sub-1", "a")]
    pairs = [(a.subject, a.site, b.site) for a, b in same_subject_pairs(again)]
    assert pairs == [("sub-1", "a", "b"), ("sub-1", "b", "a"), ("sub-2", "a", "b")]


def test_the_best_has_the_lowest_distance_among_those_that_preserve():
    lossy, close, sharp = SamplingSetting(60, 5, 5), SamplingSetting(30, 5, 5), SamplingSetting(10, 5, 5)
    results = [
        (lossy, SettingMetrics(0.001, 0.90, 1.0)),
        (close, SettingMetrics(0.004, 0.946, 1.0)),
        (sharp, SettingMetrics(0.008, 0.95, 1.0)),
    ]
    assert best_setting(results) == close
    short = SamplingSetting(60, 4, 5)
    assert best_setting([*results, (short, results[1][1])]) == short  # a tie goes to the fewest steps
