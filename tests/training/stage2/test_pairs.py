"""Pairs and guards of scans that are known by their number: the cache holds here the numbers of its scans."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import NoInputError
from bids_mmh.training.stage2.pairs import SCANS_PER_SITE, PairMaker, TrainingPairs, ValidationPairs
from bids_mmh.training.stage2.stage1_cache import SliceEmbeddings


class Numbered:
    """Walks of some scans (subject, site, sequence): their numbers, from an offset."""

    def __init__(self, *scans, offset=0):
        self.offset = offset
        self.volumes = SimpleNamespace(scans=[scan(*one) for one in scans])

    def __getitem__(self, index):
        return index + self.offset

    def slices(self, index):
        value = torch.full((1, 3, 2, 4), float(index))
        return SliceEmbeddings(value, -value, value[..., 0])


def scan(subject, site, sequence="T1w"):
    return DerivedScan(Path("i"), Path("m"), sequence, site, subject, 1.0, 0.0)


STUDY = [
    (f"{site}{k}", site, sequence)
    for site, subjects in (("target", 3), ("b", 4), ("c", 2), ("d", 1))
    for k in range(subjects)
    for sequence in ("T1w", "T2w")
] + [("tom", site, sequence) for site in ("target", "b") for sequence in ("T1w", "T2w")]
HELD_OUT = [("v1", "b", "T1w"), ("v2", "target", "T1w"), ("v3", "c", "T2w"), ("v4", "d", "T3w")]


@pytest.fixture
def cache():
    return Numbered(*STUDY)


@pytest.fixture
def pairs(cache):
    return TrainingPairs(PairMaker(cache, "target", 6), 3, seed=1)


def test_sequence_and_subject_over_many_draws(cache, pairs):
    """Also the traveller's scan elsewhere is never brought together with one of his at the target."""
    scans = cache.volumes.scans
    seen = Counter()
    for step in range(200):
        for part in range(3):
            pair = pairs[step, part]
            source, target = scans[pair.source], scans[pair.target]
            assert source.site != "target"
            assert target.site == "target"
            assert source.sequence == target.sequence
            assert source.subject != target.subject
            seen[source.subject, target.subject] += 1
    assert {source for source, _ in seen} == {s.subject for s in scans if s.site != "target"}
    assert {target for source, target in seen if source == "tom"} == {"target0", "target1", "target2"}
    assert {target for source, target in seen if source == "b0"} == {"tom", "target0", "target1", "target2"}


def test_sites_take_turns(cache, pairs):
    """The one scan of site d is a source as often as the five of site b together."""
    drawn = Counter(
        cache.volumes.scans[pairs[step, part].source].site for step in range(60) for part in (0, 1, 2)
    )
    assert drawn == {"b": 60, "c": 60, "d": 60}


def drawn(pair):
    return pair.source, pair.target, pair.guard.image[:, 0, 0, 0].tolist()


def test_draws_follow_from_seed_and_position_alone(cache, pairs):
    maker = PairMaker(cache, "target", 6)
    positions = [(step, part) for step in range(8) for part in range(3)]
    forward = [drawn(pairs[position]) for position in positions]
    again = TrainingPairs(maker, 3, seed=1)
    assert [drawn(again[position]) for position in reversed(positions)] == forward[::-1]
    other = TrainingPairs(maker, 3, seed=2)
    assert [drawn(other[position]) for position in positions] != forward
    guards = {tuple(guard) for *_, guard in forward}
    assert len(guards) > 12
    one_step = [(drawn(pairs[2 * step, 0])[2], drawn(pairs[2 * step, 2])[2]) for step in range(4)]
    assert any(one != other for one, other in one_step)  # of one sequence, and yet not the same draw


def test_validation_pairs_are_fixed_and_their_targets_are_of_trained_subjects(cache):
    held_out = Numbered(*HELD_OUT, offset=1000)
    validation = ValidationPairs(PairMaker(cache, "target", 6), held_out, seed=1)
    assert len(validation) == 2  # v2 is at the target, and of T3w there is no target
    pairs = [validation[i] for i in range(2)]
    assert [pair.source for pair in pairs] == [1000, 1002]
    for pair, sequence in zip(pairs, ("T1w", "T2w"), strict=True):
        target = cache.volumes.scans[pair.target]
        assert (target.site, target.sequence) == ("target", sequence)
    again = ValidationPairs(PairMaker(cache, "target", 6), held_out, seed=1)
    assert [drawn(again[i]) for i in range(2)] == [drawn(pair) for pair in pairs]


def test_nothing_held_out_that_could_go_to_the_target(cache):
    assert len(ValidationPairs(PairMaker(cache, "target", 6), Numbered(*HELD_OUT[1:2]), seed=1)) == 0


@pytest.mark.parametrize(
    "study",
    [
        [("a", "target", "T1w"), ("b", "target", "T1w"), ("c", "other", "T2w")],
        [("a", "target", "T1w"), ("a", "other", "T1w"), ("b", "third", "T1w")][:2],
        [("a", "target", "T1w"), ("b", "other", "T1w")],
        [("a", "target", "T1w"), ("a", "target", "T1w"), ("b", "other", "T1w")],
        [("a", "target", "T1w"), ("b", "target", "T1w"), ("c", "n/a", "T1w")],
    ],
    ids=["other sequence", "one subject", "nobody to compare", "one subject twice", "site unknown"],
)
def test_nothing_to_fine_tune_with(study):
    with pytest.raises(NoInputError, match="No scan can be fine-tuned to 'target'"):
        TrainingPairs(PairMaker(Numbered(*study), "target", 6), 1, seed=1)


def test_a_sequence_that_only_the_target_has_is_left_alone():
    study = [scan for scan in STUDY if scan[1] == "target" or scan[2] == "T1w"]
    cache = Numbered(*study)
    maker = PairMaker(cache, "target", 6)
    assert maker.sequences == ["T1w"]
    pairs = TrainingPairs(maker, 1, seed=1)
    assert {cache.volumes.scans[pairs[step, 0].target].sequence for step in range(20)} == {"T1w"}


@pytest.mark.parametrize("guard_scans", [1, 3, 4, 6, 7, 12, 50])
def test_guards_can_always_be_compared(cache, guard_scans):
    """Two sites, and two subjects at one of them; scans of one sequence and no subject twice at a site."""
    maker = PairMaker(cache, "target", guard_scans)
    sizes = set()
    for seed in range(60):
        batch = maker.guard_batch("T2w", seed)
        chosen = [cache.volumes.scans[int(i)] for i in batch.image[:, 0, 0, 0]]
        assert {one.sequence for one in chosen} == {"T2w"}
        assert batch.sites == tuple(one.site for one in chosen)
        assert batch.subjects == tuple(one.subject for one in chosen)
        assert len(set(zip(batch.sites, batch.subjects, strict=True))) == len(chosen)
        at = Counter(batch.sites)
        assert len(at) > 1
        assert 1 < max(at.values()) <= SCANS_PER_SITE
        sizes.add(len(chosen))
    assert max(sizes) <= max(guard_scans, SCANS_PER_SITE + 1)
    if guard_scans == 50:
        assert sizes == {3 + 3 + 2 + 1}


def test_unknown_sites_do_not_guard(cache):
    study = [*STUDY, *[(f"u{k}", "n/a", "T1w") for k in range(9)]]
    maker = PairMaker(Numbered(*study), "target", 50)
    assert all("n/a" not in maker.guard_batch("T1w", seed).sites for seed in range(20))
    sources = {study[i][1] for i in maker.sources(maker.cache.volumes.scans)}
    assert sources == {"b", "c", "d", "n/a"}  # but they are harmonized like any other


def test_a_guard_batch_holds_what_belongs_together(cache):
    maker = PairMaker(cache, "target", 6)
    batch = maker.guard_batch("T1w", 4)
    chosen = maker.guards("T1w", np.random.default_rng(4))
    assert batch.image[:, 0, 0, 0].tolist() == chosen
    assert torch.equal(batch.aligned, -batch.image)
    assert batch.places.shape == (len(chosen), 3, 2)
