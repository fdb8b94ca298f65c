import copy
import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import bids_mmh.training.stage2.task as stage2_module
from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.method.diffusion.gradient import gradient_map, interior
from bids_mmh.method.encoder.slices import weights_sha256
from bids_mmh.method.encoder.tpa_clip import TriPlanarConfig, TriPlanarEncoder
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.style.losses import Separation
from bids_mmh.method.style.statistics import style_statistics, wasserstein
from bids_mmh.training.engine import Compute, make_fabric
from bids_mmh.training.stage2.pairs import PairMaker, TrainingPairs, ValidationPairs
from bids_mmh.training.stage2.stage1_cache import Stage1Cache, maker_of
from bids_mmh.training.stage2.task import Stage2Task, require_open, train_stage2


@pytest.fixture
def make_task(prepared, stage2):
    """A task on models of its own."""

    def make(psi=None, config=None, **changes):
        recipe = replace(stage2, **changes)
        maker = PairMaker(prepared.cache, "alpha", recipe.guard_scans)
        model = copy.deepcopy(prepared.model)
        model.config = config or model.config
        pairs, validation = TrainingPairs(maker, 2, seed=1), ValidationPairs(maker, prepared.held_out, seed=1)
        return Stage2Task(model, psi or copy.deepcopy(prepared.psi), recipe, pairs, validation)

    return make


def losses_of(folder):
    with (folder / "stage2" / "losses.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


# ---------------------------------------------------------------------------------------------- the losses


def sampled_by_hand(model, network, item, condition):
    """Eqs. 12 and 14 step by step, each clean estimate given the target's mean and standard deviation."""
    config = model.config
    beta = torch.linspace(math.sqrt(0.0015), math.sqrt(0.0195), 1000, dtype=torch.float64) ** 2
    kept = torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])  # alpha-bar, from t = 0
    gradient = gradient_map(item.image)
    own = style_statistics(item.aligned, item.mask, config.bins)
    ratio = [math.sqrt((1 - a) / a) for a in kept.tolist()]
    x, steps = item.latent, config.sampling_steps
    for i in range(steps, 0, -1):
        now, then = round(config.depth * i / steps), round(config.depth * (i - 1) / steps)
        left = torch.tensor([ratio[now] / ratio[config.depth]])
        code = model.style_code(own, condition, remaining=left)
        epsilon = network(x, torch.tensor([now]), gradient, item.sequence, code)
        clean = (x - math.sqrt(1 - kept[now]) * epsilon) / math.sqrt(kept[now])
        inside = clean[item.mask]
        deviation = inside.std(correction=0)
        clean = torch.where(
            item.mask, (clean - inside.mean()) / deviation * condition.std + condition.mean, clean
        )
        x = math.sqrt(kept[then]) * clean + math.sqrt(1 - kept[then]) * epsilon
    return torch.where(item.mask, x, -1.0)


def remainder(intensity, change):
    """Mean square of a change (N,) less its best piecewise linear function of the intensity (N,)."""
    knots = np.linspace(-1.5, 1.5, 33)
    hats = np.maximum(0, 1 - np.abs(intensity.double().numpy()[:, None] - knots) / (knots[1] - knots[0]))
    heights = np.linalg.lstsq(hats, change.double().numpy(), rcond=None)[0]
    return float(np.square(change.double().numpy() - hats @ heights).mean())


def transcribed(task, pair):
    """Eqs. 18 to 20, what is no contrast, and the guard, on volumes.

    From nothing that was kept but latents and Ψ(I′).
    """
    model, psi = task.model, task.psi
    condition = model.target_records.of(pair.source.sequence)
    moved, rebuilt = (
        sampled_by_hand(model, model.target_network, w, condition) for w in (pair.source, pair.target)
    )

    def psi_of(volume, item):
        return psi(volume, item.mask)[0]

    def unified(item):
        return psi.aggregator(item.slices.aligned, item.slices.places)[0]

    s_y = psi_of(pair.target.image, pair.target) - unified(pair.target)
    s_xy = psi_of(moved, pair.source) - unified(pair.source)
    s_yy = psi_of(rebuilt, pair.target) - unified(pair.target)
    cosine = s_y @ s_xy / (s_y.norm() * s_xy.norm())
    anatomy = [
        (
            (gradient_map(item.image, item.mask) - gradient_map(out, item.mask))[interior(item.mask)] ** 2
        ).mean()
        for item, out in ((pair.source, moved), (pair.target, rebuilt))
    ]
    kept = float(model.schedule.alpha_bar[model.config.depth])
    place = [
        remainder(item.aligned[item.mask], (out - item.aligned)[item.mask]) * kept / (1 - kept)
        for item, out in ((pair.source, moved), (pair.target, rebuilt))
    ]
    guard = pair.guard
    styles = psi.aggregator(guard.image, guard.places) - psi.aggregator(guard.aligned, guard.places)
    directions = styles / styles.norm(dim=1, keepdim=True)
    costs = []
    for i, site in enumerate(guard.sites):
        others = [j for j in range(len(styles)) if j != i]
        scores = {j: torch.exp(directions[i] @ directions[j] / 0.1) for j in others}
        partners = [j for j in others if guard.sites[j] == site]
        costs += [-sum(torch.log(scores[j] / sum(scores.values())) for j in partners) / len(partners)]
    return {
        "style": (s_y.norm() - s_xy.norm()).abs() + 1 - cosine,
        "consistency": (s_y - s_yy).abs().mean(),
        "gradient": (anatomy[0] + anatomy[1]) / 2,
        "contrast": 10 * (place[0] + place[1]) / 2,
        "guard": sum(costs) / len(costs),
    }


@pytest.mark.parametrize("part", [0, 1])
def test_losses_are_those_of_the_paper(make_task, part):
    task = make_task(gradient_scales=1)
    pair = task.data(0).train[1, part]
    with torch.no_grad():
        task.psi.aggregator.norm.weight *= 100  # style vectors of a length near 1
        losses, _ = task.losses(task.modules, pair, 0)
        expected = transcribed(task, pair)
    for name, value in expected.items():
        assert float(value) > 1e-4
        assert float(losses[name]) == pytest.approx(float(value), rel=2e-3), name
    assert float(losses["total"]) == pytest.approx(sum(float(losses[name]) for name in expected), abs=1e-6)


def test_weights_of_the_terms(make_task):
    plain = make_task()
    pair = plain.data(0).train[0, 0]
    with torch.no_grad():
        once, _ = plain.losses(plain.modules, pair, 0)
        factors = {"weight_style": 2.0, "weight_consistency": 3.0, "weight_gradient": 5.0}
        heavy = make_task(**factors, weight_contrast=70.0, weight_guard=0.0)
        twice, _ = heavy.losses(heavy.modules, pair, 0)
    weights = {"style": 2, "consistency": 3, "gradient": 5, "contrast": 7, "guard": 0, "separation": 1}
    for name, weight in weights.items():
        assert float(once[name]) > 0
        assert float(twice[name]) == pytest.approx(weight * float(once[name]), rel=1e-5)
    assert float(twice["total"]) == pytest.approx(
        sum(float(twice[name]) for name in ("style", "consistency", "gradient", "contrast")), rel=1e-5
    )


def test_nothing_is_drawn(make_task):
    task = make_task()
    pair = task.data(0).train[0, 1]
    with torch.no_grad():
        first, second = (task.losses(task.modules, pair, seed)[0] for seed in (1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)


class Watched(nn.Module):
    """A network that notes whether its calls are tracked."""

    def __init__(self, network):
        super().__init__()
        self.network, self.tracked = network, []

    def forward(self, *arguments):
        self.tracked.append(torch.is_grad_enabled())
        return self.network(*arguments)


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_gradients_flow_through_the_last_steps_only(make_task, steps):
    task = make_task(backprop_steps=steps)
    watched = Watched(task.modules["network"])
    pair = task.data(0).train[0, 0]
    losses, _ = task.losses({**task.modules, "network": watched}, pair, 0)
    one = [False] * (3 - min(steps, 3)) + [True] * min(steps, 3)
    assert watched.tracked == one * 2  # the source's item and the target's
    losses["total"].backward()
    assert task.modules["network"].head.weight.grad.abs().max() > 0
    full, _ = make_task().losses(task.modules, pair, 0)
    assert losses["total"].item() == pytest.approx(full["total"].item(), rel=1e-5)


def test_only_target_network_and_aggregator_learn(make_task):
    task = make_task()
    losses, _ = task.losses(task.modules, task.data(0).train[0, 0], 0)
    losses["total"].backward()
    frozen = [*task.model.network.parameters(), *task.psi.encoder.parameters()]
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in frozen)
    for module in (task.model.target_network, task.psi.aggregator):
        grads = [parameter.grad for parameter in module.parameters()]
        assert all(grad is not None for grad in grads)
        assert sum(bool(grad.abs().max() > 0) for grad in grads) > len(grads) / 2
    assert set(task.modules) == {"network", "aggregator"}
    assert task.modules["network"] is task.model.target_network


def test_each_term_teaches_whom_it_should(make_task):
    """The guard teaches the aggregator alone, L_G the network alone, the style terms both."""
    reached = {}
    for name in ("style", "consistency", "gradient", "guard"):
        task = make_task()
        losses, _ = task.losses(task.modules, task.data(0).train[0, 0], 0)
        losses[name].backward()
        reached[name] = {
            module
            for module, own in task.modules.items()
            if any(p.grad is not None and p.grad.abs().max() > 0 for p in own.parameters())
        }
    assert reached == {
        "style": {"network", "aggregator"},
        "consistency": {"network", "aggregator"},
        "gradient": {"network"},
        "guard": {"aggregator"},
    }


def test_styles_are_not_rounded_by_mixed_precision(make_task):
    """In bfloat16 two embeddings differ by hardly more than their rounding."""
    task = make_task()
    fabric = make_fabric(Compute("cpu", precision="bf16-mixed"))
    wrapped = fabric.setup_module(copy.deepcopy(task.psi.aggregator))
    guard = task.data(0).train[0, 0].guard
    exact = stage2_module._guard_styles(task.psi.aggregator, guard)
    mixed = stage2_module._guard_styles(wrapped, guard)
    assert exact.norm(dim=1).max() < 0.1
    torch.testing.assert_close(mixed, exact, atol=1e-5, rtol=1e-4)


# ------------------------------------------------------------------------------------------- the ablations


def test_axial_mean_has_nothing_to_learn(make_task, prepared):
    axial = TriPlanarEncoder(prepared.psi.encoder, TriPlanarConfig(slices=3, aggregation="axial_mean"))
    task = make_task(psi=axial)
    assert set(task.modules) == {"network"}


@pytest.mark.parametrize(
    ("change", "gone"),
    [({"gradient_condition": False}, "gradient"), ({"ema_guidance": False}, None), ({}, None)],
    ids=["without G", "without E", "axial mean"],
)
def test_ablations_train(begun, stage1_model, stage2, change, gone):
    stage1_model.config = replace(stage1_model.config, **change)
    if not change:
        stage2 = replace(stage2, aggregation="axial_mean")
    model = train_stage2(stage1_model, replace(stage2, steps=2), begun, seed=5)
    assert model.config.target.aggregation == stage2.aggregation
    rows = losses_of(begun.folder)
    assert [row["split"] for row in rows] == ["train", "train", "validation"]
    for row in rows:
        assert float(row["total"]) > 0
        if gone:
            assert float(row[gone]) == 0
    moved = weights_sha256(model.target_network) != weights_sha256(model.network)
    assert moved


def test_a_network_on_a_coarser_grid_trains(begun, stage1_model, stage2):
    """What it changes is carried to the grid of the scans, where the losses are."""
    config = stage1_model.config
    stage1_model.config = replace(config, network_spacing=2 * config.spacing)
    model = train_stage2(stage1_model, replace(stage2, steps=2), begun, seed=5)
    assert model.config.coarsening == 2
    assert all(math.isfinite(float(row["total"])) for row in losses_of(begun.folder))
    assert weights_sha256(model.target_network) != weights_sha256(model.network)


# -------------------------------------------------------------------------------------------- the collapse


@pytest.mark.parametrize(
    ("separations", "collapsed"),
    [
        ([Separation(0.8, 0.2, 1.0)] * 3, False),
        ([Separation(0.2, 0.8, 1.0)] * 3, True),
        ([Separation(0.8, 0.2, 1e-5)] * 3, True),
        ([Separation(0.1, 0.3, 1.0), Separation(0.9, 0.3, 1.0)], False),  # a bad batch is none
    ],
    ids=["open", "mixed up", "short", "once"],
)
def test_what_a_collapse_is(separations, collapsed):
    if not collapsed:
        require_open(separations)
        return
    with pytest.raises(BadDataError, match=r"The style aggregator has collapsed .* raise weight_guard"):
        require_open(separations)


class Constant(nn.Module):
    """An aggregator that answers the same to everything."""

    views = ("axial", "coronal", "sagittal")

    def __init__(self, dim):
        super().__init__()
        self.answer = nn.Parameter(torch.ones(dim))

    def forward(self, embeddings, places):
        return self.answer + 0.0 * embeddings.mean() * places.mean() * self.answer.expand(len(embeddings), -1)


@pytest.mark.parametrize("constant", [True, False])
def test_a_collapsed_aggregator_stops_the_training(begun, stage1_model, stage2, monkeypatch, constant):
    monkeypatch.setattr(stage2_module, "WATCHED", 4)
    if constant:
        make = stage2_module._new_psi

        def collapsed(recipe, seed):
            psi = make(recipe, seed)
            psi.aggregator = Constant(psi.encoder.dim)
            return psi

        monkeypatch.setattr(stage2_module, "_new_psi", collapsed)
        with pytest.raises(BadDataError, match="The style aggregator has collapsed"):
            train_stage2(stage1_model, stage2, begun, seed=5)
        return
    train_stage2(stage1_model, stage2, begun, seed=5)


# -------------------------------------------------------------------------------------------- a whole run


@pytest.fixture
def seen_psi(monkeypatch):
    """The Ψ that the next runs make and train."""
    made, make = [], stage2_module._new_psi
    monkeypatch.setattr(stage2_module, "_new_psi", lambda *a: made.append(make(*a)) or made[-1])
    return made


def test_losses_on_fixed_pairs_fall(begun, stage1_model, stage2, seen_psi):
    """Judged by the aggregator as it ended, on subjects that were held out.

    Without the output's AdaIN, which by itself brings these scans to the target's mean and deviation, so
    that only the network can do it.
    """
    few = {"inversion_steps": 2, "sampling_steps": 1}
    stage1_model.config = replace(stage1_model.config, intensity_map="none", **few)
    stage2 = replace(stage2, steps=10, learning_rate=3e-3, backprop_steps=1, aggregator_steps=40)
    model = train_stage2(stage1_model, replace(stage2, validate_every=10), begun, seed=5)
    (psi,) = seen_psi
    maker = maker_of(model, psi)
    cache, held_out = (
        Stage1Cache(begun.cache(model.config, part), begun.folder / "stage2" / "stage1_cache", maker)
        for part in ("train", "validation")
    )
    pair_maker = PairMaker(cache, "alpha", 12)
    validation = ValidationPairs(pair_maker, held_out, seed=5)
    task = Stage2Task(model, psi, stage2, TrainingPairs(pair_maker, 2, seed=5), validation)
    start, end = (mean_losses(task, network) for network in (model.network, model.target_network))
    assert end["total"] < start["total"] - 0.02
    assert end["style"] < 0.7 * start["style"]


def test_a_held_out_scan_comes_nearer_to_the_target_and_nothing_else_moves(
    begun, stage1_model, stage2, prepared, seen_psi, tmp_path
):
    before = weights_sha256(stage1_model)
    train_stage2(stage1_model, stage2, begun, seed=5).save_pretrained(tmp_path / "model")
    model = Harmonizer.from_pretrained(tmp_path / "model")
    assert weights_sha256(stage1_model) == before
    assert weights_sha256(model.network) == weights_sha256(stage1_model.network)
    assert weights_sha256(model.records) == weights_sha256(stage1_model.records)
    assert weights_sha256(model.target_network) != weights_sha256(model.network)
    (psi,) = seen_psi
    digests = {weights_sha256(psi.encoder.tower), prepared.psi.encoder.digest}
    assert digests == {model.config.target.encoder_digest}
    scans = prepared.held_out.volumes.scans
    sources = [i for i, scan in enumerate(scans) if scan.site == "beta"]
    assert len(sources) == 2
    for item in (prepared.held_out[i] for i in sources):
        assert distance(model, item, stage=None) < 0.7 * distance(model, item, stage=1)


def mean_losses(task, network):
    """Mean losses on the validation pairs, as judged by the aggregator as it is."""
    items = task.data(0).validation
    with torch.no_grad():
        each = [task.losses({**task.modules, "network": network}, items[i], 0)[0] for i in range(len(items))]
    return {name: sum(float(one[name]) for one in each) / len(each) for name in each[0]}


def distance(model, item, stage):
    """Wasserstein distance of a harmonized scan's histogram from the target's."""
    result = model(item.image, item.mask, item.sequence, stage=stage)
    own = style_statistics(result, item.mask, model.config.bins)
    return float(wasserstein(own.histogram, model.target_records.of(item.sequence).histogram))


def test_the_record_is_that_of_the_targets_training_scans(begun, stage1_model, stage2, prepared):
    """People who validate (04 is at the target) and subjects who test count for nothing."""
    model = train_stage2(stage1_model, replace(stage2, steps=1), begun, seed=5)
    volumes = prepared.cache.volumes
    for m, sequence in enumerate(("T1w", "T2w")):
        own = [i for i, s in enumerate(volumes.scans) if (s.site, s.sequence) == ("alpha", sequence)]
        assert {volumes.scans[i].subject for i in own} == {"sub-01", "sub-02", "sub-05"}
        means = [float(style_statistics(volumes[i].image, volumes[i].mask).mean) for i in own]
        assert float(model.target_records.mean[m]) == pytest.approx(sum(means) / 3, abs=1e-6)


def test_nothing_to_fine_tune_with_is_said_before_stage_one_is_applied(
    tmp_path, write_scan, workspace, stage1_model, stage2, monkeypatch
):
    for subject, site in (("01", "alpha"), ("02", "beta")):
        write_scan(tmp_path / "d", subject, site=site)
    monkeypatch.setattr(stage2_module, "build_cache", lambda *_: pytest.fail("too early"))
    with pytest.raises(NoInputError, match="No scan can be fine-tuned to 'alpha'"):
        train_stage2(stage1_model, stage2, workspace(tmp_path / "d"), seed=5)


def test_a_sequence_that_one_site_alone_has_does_no_harm(
    tmp_path, write_study, workspace, stage1_model, stage2
):
    root = write_study(tmp_path / "d")
    for file in root.glob("*/ses-beta/anat/*T2w*"):
        file.unlink()
    model = train_stage2(stage1_model, replace(stage2, steps=1), workspace(root), seed=5)
    assert model.target_records.seen.all()


def test_recomputed_activations_change_nothing(begun, stage1_model, stage2):
    trained = []
    for checkpointing in (False, True):
        recipe = replace(stage2, steps=1, activation_checkpointing=checkpointing)
        model = train_stage2(stage1_model, recipe, begun, seed=5)
        assert model.target_network.checkpointing is checkpointing
        trained.append(model.target_network.state_dict())
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, atol=1e-6, rtol=1e-4)
