"""The warm-up on embeddings in which the acquisition is a weak direction and the subject a strong one."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bids_mmh.method.encoder.tpa_clip import AttentionAggregator, AxialMean
from bids_mmh.method.style.losses import separation
from bids_mmh.training.recipe import Stage2Recipe
from bids_mmh.training.stage2.aggregator import train_aggregator
from bids_mmh.training.stage2.pairs import PairMaker
from bids_mmh.training.stage2.stage1_cache import SliceEmbeddings

RECIPE = Stage2Recipe(aggregator_steps=150, aggregator_learning_rate=3e-3)
DIM = 16


class Drawn:
    """Stage I results with drawn embeddings of three sites of four subjects each, in two sequences."""

    def __init__(self):
        places = [(f"{site}{k}", site, s) for site in "abc" for k in range(4) for s in ("T1w", "T2w")]
        self.volumes = SimpleNamespace(
            scans=[SimpleNamespace(subject=subject, site=site, sequence=s) for subject, site, s in places]
        )
        rng = torch.Generator().manual_seed(3)
        style = {site: torch.randn(DIM, generator=rng) * 0.5 for site in "abc"}
        self.embeddings = []
        for _, site, _ in places:
            subject = torch.randn(DIM, generator=rng)
            aligned = torch.randn(3, 2, DIM, generator=rng)
            self.embeddings.append((aligned + subject + style[site], aligned))

    def slices(self, index):
        image, aligned = self.embeddings[index]
        return SliceEmbeddings(image[None], aligned[None], torch.tensor([0.3, 0.7]).expand(1, 3, 2))


@pytest.fixture
def maker():
    return PairMaker(Drawn(), "a", 9)


@pytest.fixture
def aggregator():
    torch.manual_seed(0)
    return AttentionAggregator(DIM, 4, 0.1)


def measured(aggregator, maker):
    """Separation over all scans of a sequence."""
    ratios = []
    for sequence in maker.sequences:
        batch = replace_guards(maker, 12).guard_batch(sequence, 0)
        with torch.no_grad():
            styles = aggregator(batch.image, batch.places) - aggregator(batch.aligned, batch.places)
        ratios.append(separation(styles, batch.sites, batch.subjects).ratio)
    return min(ratios)


def replace_guards(maker, count):
    return PairMaker(maker.cache, maker.site, count)


def test_it_learns_to_tell_acquisitions_apart(aggregator, maker, caplog):
    before = measured(aggregator, maker)
    with caplog.at_level(logging.INFO, logger="bids_mmh.training"):
        train_aggregator(aggregator, maker, RECIPE, seed=1)
    assert before < 1.5
    assert measured(aggregator, maker) > 3 * before
    (sentence,) = caplog.messages
    assert sentence.startswith("Style aggregator: separation of acquisitions")
    assert "after 150 steps" in sentence


def test_the_same_on_every_process(maker):
    """A function of its arguments alone, whatever was drawn before, and no gradient is left over."""
    results = []
    for noise in (0, 1):
        torch.manual_seed(0)
        aggregator = AttentionAggregator(DIM, 4, 0.1)
        torch.manual_seed(noise)
        train_aggregator(aggregator, maker, replace(RECIPE, aggregator_steps=5), seed=1)
        assert all(parameter.grad is None for parameter in aggregator.parameters())
        results.append(aggregator.state_dict())
    assert all(torch.equal(results[1][name], value) for name, value in results[0].items())


def test_another_seed_draws_others(aggregator, maker):
    start = {name: value.clone() for name, value in aggregator.state_dict().items()}
    ends = []
    for seed in (1, 2):
        aggregator.load_state_dict(start)
        train_aggregator(aggregator, maker, replace(RECIPE, aggregator_steps=3), seed=seed)
        ends.append(aggregator.query.detach().clone())
    assert not torch.equal(*ends)


def test_all_sequences_take_part(aggregator, maker, monkeypatch):
    asked = []
    original = PairMaker.guard_batch

    def watched(self, sequence, seed):
        asked.append(sequence)
        return original(self, sequence, seed)

    monkeypatch.setattr(PairMaker, "guard_batch", watched)
    train_aggregator(aggregator, maker, replace(RECIPE, aggregator_steps=4), seed=1)
    assert asked == ["T1w", "T2w", "T1w", "T2w"]


def test_nothing_to_do(aggregator, maker, caplog):
    before = aggregator.query.detach().clone()
    with caplog.at_level(logging.INFO, logger="bids_mmh.training"):
        train_aggregator(AxialMean(), maker, RECIPE, seed=1)
        train_aggregator(aggregator, maker, replace(RECIPE, aggregator_steps=0), seed=1)
    assert torch.equal(aggregator.query, before)
    assert not caplog.messages
