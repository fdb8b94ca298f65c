"""The target site on made-up scans whose spread is known: equal but for what is added to each."""

import logging
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.style.statistics import StyleRecords, style_statistics
from bids_mmh.training.data.scans import find_scans
from bids_mmh.training.data.volume_cache import VolumeCache
from bids_mmh.training.engine import Compute, make_fabric
from bids_mmh.training.stage2.target_site import (
    SiteVariability,
    rank_sites,
    set_target_records,
    training_target,
    write_ranking,
)

BASE = np.random.default_rng(1).uniform(60, 100, (9, 12, 12))


@pytest.fixture
def cache(tmp_path, tiny, write_scan):
    """A cache of scans: ``{site: {sequence: [what is added to each, …]}}``; with slope 0.01."""

    def make(sites, sequences=("T1w", "T2w")):
        for site, added in sites.items():
            for sequence, values in added.items():
                for i, value in enumerate(values):
                    label = f"{site}{i}".replace("/", "")
                    write_scan(tmp_path / "d", label, sequence, array=BASE + value, site=site)
        config = replace(tiny, sequences=sequences)
        return VolumeCache(find_scans([tmp_path / "d"], sequences), config, tmp_path / "cache")

    return make


@pytest.fixture
def rank(cache):
    def rank(sites, min_scans=3):
        return rank_sites(cache(sites), min_scans, make_fabric(Compute("cpu")))

    return rank


def test_the_least_variable_site_is_first_and_the_numbers_are_distances(rank):
    ranking = rank(
        {"wide": {"T1w": [-40, 0, 40]}, "narrow": {"T1w": [-10, 0, 10]}, "mid": {"T1w": [0, 0, 50]}}
    )
    assert [one.site for one in ranking] == ["narrow", "mid", "wide"]
    # shifts of 0.1, 0.1 and 0.2 on a scale of length 2
    assert [one.variability for one in ranking] == pytest.approx([0.4 / 6, 1.0 / 6, 1.6 / 6], rel=0.03)
    assert all(one.qualifies and one.scans == 3 for one in ranking)
    assert training_target(ranking, "auto", 3) == "narrow"


def test_sequences_count_alike(rank):
    """Steady in T1w, restless in T2w, against the mean of both elsewhere; T2w scans are many."""
    ranking = rank(
        {
            "uneven": {"T1w": [0, 0, 0], "T2w": [-40, 0, 40, -40, 40, 0]},
            "even": {"T1w": [-15, 0, 15], "T2w": [-15, 0, 15]},
        }
    )
    assert [(one.site, one.scans) for one in ranking] == [("even", 3), ("uneven", 3)]
    assert ranking[0].variability == pytest.approx(0.1, rel=0.03)


def test_sites_with_too_few_scans_do_not_qualify_and_it_is_said(rank, caplog):
    ranking = rank(
        {
            "two": {"T1w": [0, 0], "T2w": [0, 0, 0]},
            "none": {"T1w": [0, 0, 0]},
            "enough": {"T1w": [-9, 0, 9], "T2w": [-9, 0, 9]},
            "n/a": {"T1w": [0, 0, 0], "T2w": [0, 0, 0]},
        }
    )
    assert (ranking[0].site, ranking[0].qualifies) == ("enough", True)
    assert {one.site: one.scans for one in ranking} == {"two": 2, "none": 0, "enough": 3, "n/a": 3}
    assert not any(one.qualifies for one in ranking[1:])
    with caplog.at_level(logging.INFO, logger="bids_mmh.training"):
        assert training_target(ranking, "auto", 3) == "enough"
    (sentence,) = [r.getMessage() for r in caplog.records if "Not considered" in r.getMessage()]
    assert sentence.startswith("Not considered as target, with fewer than 3 scans: ")
    assert "two" in sentence
    assert "none" in sentence
    assert "n/a" not in sentence


def test_nobody_qualifies(rank):
    ranking = rank({"a": {"T1w": [0, 0]}, "n/a": {"T1w": [0, 0, 0]}})
    with pytest.raises(NoInputError, match="No site has 3 training scans of every sequence"):
        training_target(ranking, "auto", 3)
    assert training_target(ranking, "a", 3) == "a"  # who names a site takes it as it is


def sites(*names, qualifies=True):
    return [SiteVariability(name, 5, 0.1 * (i + 1), qualifies) for i, name in enumerate(names)]


def test_a_name_wins(caplog):
    with caplog.at_level(logging.INFO, logger="bids_mmh.training"):
        assert training_target(sites("a", "b", "c"), "c", 3) == "c"
    assert "Target site: c." in caplog.messages


@pytest.mark.parametrize("wanted", ["d", "n/a"])
def test_an_unknown_name_is_answered_with_the_sites(wanted):
    with pytest.raises(UsageError, match=f"No training scan is from the site '{wanted}': there are a, b."):
        training_target(sites("a", "b", "n/a"), wanted, 3)


@pytest.mark.parametrize(("name", "said"), [("a", "'a'"), ("n/a", "an unknown site")])
def test_one_site_is_not_enough(name, said):
    with pytest.raises(NoInputError, match=f"All training scans are from {said}: Stage II needs another"):
        training_target(sites(name), "auto", 3)


def test_the_only_site_by_its_name_is_not_enough_either():
    with pytest.raises(NoInputError, match="needs another site"):
        training_target(sites("a"), "a", 3)


def test_the_table_of_the_choice(tmp_path):
    ranking = [SiteVariability("a", 4, 0.123456, True), SiteVariability("b", 1, float("nan"), False)]
    write_ranking(tmp_path / "new" / "sites.tsv", ranking, "b")
    assert (tmp_path / "new" / "sites.tsv").read_text() == (
        "site\tscans\tvariability\tqualifies\ttarget\na\t4\t0.12346\tyes\tno\nb\t1\tn/a\tno\tyes\n"
    )


def test_records_are_the_mean_style_of_the_sites_scans(cache):
    volumes = cache({"a": {"T1w": [0, 20, 70]}, "b": {"T1w": [10, 0, 0], "T2w": [5]}})
    records = StyleRecords(2, bins=20)
    records.mean[:] = torch.tensor([9.0, 8.0])
    set_target_records(Harmonizer(volumes.config), records, volumes, "a")
    own = [i for i, scan in enumerate(volumes.scans) if scan.site == "a"]
    assert len(own) == 3
    styles = [style_statistics(volumes[i].image, volumes[i].mask, 20) for i in own]
    assert records.mean[0] == pytest.approx(np.mean([float(s.mean) for s in styles]), abs=1e-6)
    assert records.std[0] == pytest.approx(np.mean([float(s.std) for s in styles]), abs=1e-6)
    histogram = np.mean([s.histogram[0].numpy() for s in styles], axis=0)
    np.testing.assert_allclose(records.histogram[0].numpy(), histogram, atol=1e-6)
    assert records.mean[1] == 8.0  # no T2w there: what it was before
    assert records.seen.tolist() == [True, False]


def test_volumes_are_held_one_at_a_time(cache, monkeypatch):
    """Thousands of volumes of 1 mm do not fit into memory."""
    volumes = cache({"a": {"T1w": [0, 20, 70, 3, 4]}, "b": {"T1w": [10, 0, 0]}})
    alive, most = weakref.WeakSet(), []
    read = VolumeCache.__getitem__

    def watched(self, index):
        volume = read(self, index)
        alive.add(volume.image)
        most.append(len(alive))
        return volume

    monkeypatch.setattr(VolumeCache, "__getitem__", watched)
    rank_sites(volumes, 3, make_fabric(Compute("cpu")))
    set_target_records(Harmonizer(volumes.config), StyleRecords(2, bins=20), volumes, "a")
    assert len(most) == 8 + 5
    assert max(most) <= 2
