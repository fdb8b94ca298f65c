"""Stage II: fine-tuning to a target site by style vectors (paper 3.3, Eq. 20), as a task of the loop."""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bids_mmh.errors import BadDataError
from bids_mmh.method.config import TargetConfig
from bids_mmh.method.diffusion.losses import gradient_loss
from bids_mmh.method.encoder.slices import load_encoder
from bids_mmh.method.encoder.tpa_clip import TriPlanarConfig, TriPlanarEncoder
from bids_mmh.method.harmonizer import Harmonizer, Latent, Styled
from bids_mmh.method.style.contrast import contrast_loss
from bids_mmh.method.style.losses import (
    Separation,
    consistency_loss,
    contrastive_loss,
    displacement_loss,
    separation,
)
from bids_mmh.training.loop.task import PhaseData
from bids_mmh.training.loop.training_loop import Loop, LoopSettings
from bids_mmh.training.recipe import Phase, Stage2Recipe
from bids_mmh.training.stage2.aggregator import train_aggregator
from bids_mmh.training.stage2.pairs import GuardBatch, Pair, PairMaker, TrainingPairs, ValidationPairs
from bids_mmh.training.stage2.stage1_cache import (
    SliceEmbeddings,
    Stage1Cache,
    UnifiedScan,
    build_cache,
    maker_of,
)
from bids_mmh.training.stage2.target_site import (
    rank_sites,
    set_target_records,
    training_target,
    write_ranking,
)
from bids_mmh.training.workspace import Workspace

logger = logging.getLogger("bids_mmh.training")

WATCHED = 50  # guard batches whose mean separation says whether the aggregator has collapsed


@dataclass(frozen=True)
class Translation:
    """A scan that the network in training moved to the target.

    Attributes:
        moved: (1, 1, H, W, D).
        anatomy: L_G, a scalar; 0 where the model does without the gradient condition.
        place: mean square of the change that is no function of intensity, in units of the noise at the
            model's depth; a scalar.
    """

    moved: Tensor
    anatomy: Tensor
    place: Tensor


class Stage2Task:
    """Fine-tunes a copy of the Stage I network, and the aggregator that judges its styles.

    Args:
        model: with a target; all but ``target_network`` is frozen.
        psi: Ψ; its slice encoder is frozen.
        recipe: of Stage II.
        pairs: training pairs.
        validation: validation pairs.
    """

    terms: Sequence[str] = ("style", "consistency", "gradient", "contrast", "guard", "separation")

    def __init__(
        self,
        model: Harmonizer,
        psi: TriPlanarEncoder,
        recipe: Stage2Recipe,
        pairs: TrainingPairs,
        validation: ValidationPairs,
    ) -> None:
        assert model.target_network is not None and model.target_records is not None
        self.model, self.psi, self.recipe = model, psi, recipe
        self.records = model.target_records
        self.phase_data = PhaseData(pairs, validation)
        model.requires_grad_(False)
        self.modules: Mapping[str, nn.Module] = {"network": model.target_network.requires_grad_(True)}
        if any(True for _ in psi.aggregator.parameters()):
            self.modules = {**self.modules, "aggregator": psi.aggregator}
        self.watched: deque[Separation] = deque(maxlen=WATCHED)

    def data(self, phase: int) -> PhaseData:  # noqa: ARG002
        """The one phase's pairs."""
        return self.phase_data

    def losses(
        self, modules: Mapping[str, nn.Module], item: Pair, seed: int
    ) -> tuple[Mapping[str, Tensor], Sequence[Separation]]:
        """Eq. 20 and the guard on one pair; nothing is drawn, all follows from the pair."""
        del seed
        aggregator = modules.get("aggregator", self.psi.aggregator)
        source = self._translate(modules["network"], item.source)
        target = self._translate(modules["network"], item.target)
        wanted = _style(aggregator, item.target.slices)
        got = self._style_of(aggregator, source.moved, item.source)
        again = self._style_of(aggregator, target.moved, item.target)
        guards = _guard_styles(aggregator, item.guard)
        apart = separation(guards.detach(), item.guard.sites, item.guard.subjects)
        recipe = self.recipe
        terms = {
            "style": recipe.weight_style * displacement_loss(wanted, got).mean(),
            "consistency": recipe.weight_consistency * consistency_loss(wanted, again).mean(),
            "gradient": recipe.weight_gradient * (source.anatomy + target.anatomy) / 2,
            "contrast": recipe.weight_contrast * (source.place + target.place) / 2,
            "guard": recipe.weight_guard * contrastive_loss(guards, item.guard.sites),
        }
        total = torch.stack(list(terms.values())).sum()
        return {"total": total, **terms, "separation": total.new_tensor(apart.ratio)}, [apart]

    def after_step(self, observed: Sequence[Separation]) -> None:
        """Watch the aggregator.

        Raises:
            BadDataError: it has collapsed.
        """
        self.watched.extend(observed)
        if len(self.watched) == WATCHED and "aggregator" in self.modules:
            require_open(self.watched)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: what is watched is watched anew after a resumption."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _translate(self, network: nn.Module, scan: UnifiedScan) -> Translation:
        """A scan at the target, and what besides its contrast changed on the way."""
        model, config = self.model, self.model.config
        anchor = model.anchor(scan.image, scan.mask, scan.sequence)
        target = self.records.of(scan.sequence)
        aligned = Styled(scan.aligned, model.style(scan.aligned, anchor.even))
        mapped = model.landmark_map(aligned, anchor, target)
        coarse, there = model.on_network_grid(mapped, anchor)
        latent = Latent(scan.latent, mapped.style)
        sampled = model.sample(network, latent, there, target, tracked=self.recipe.backprop_steps)
        moved = model.with_change(mapped.value, sampled - coarse.value, anchor.mask)
        anatomy = place = moved.new_zeros(())
        if config.gradient_condition:
            anatomy = gradient_loss(scan.image, moved, scan.mask, self.recipe.gradient_scales).mean()
        if self.recipe.weight_contrast:
            in_noise = float(model.schedule.snr(torch.tensor(config.depth)))
            place = in_noise * contrast_loss(mapped.value, moved, scan.mask).mean()
        return Translation(moved, anatomy, place)

    def _style_of(self, aggregator: nn.Module, moved: Tensor, scan: UnifiedScan) -> Tensor:
        """S_X→Y = Ψ(I_X→Y) − Ψ(I′_X) (Eq. 18)."""
        return aggregator(*self.psi.slices(moved, scan.mask)) - aggregator(
            scan.slices.aligned, scan.slices.places
        )


def _style(aggregator: nn.Module, slices: SliceEmbeddings) -> Tensor:
    """S = Ψ(I) − Ψ(I′) of a real scan, from its frozen slice embeddings."""
    return aggregator(slices.image, slices.places) - aggregator(slices.aligned, slices.places)


def _guard_styles(aggregator: nn.Module, guard: GuardBatch) -> Tensor:
    return _style(aggregator, SliceEmbeddings(guard.image, guard.aligned, guard.places))


def require_open(watched: Sequence[Separation]) -> None:
    """Stop where the aggregator separates acquisitions no better than subjects.

    Raises:
        BadDataError: on average over ``watched`` it does not.
    """
    count = len(watched)
    mean = Separation(
        sum(one.between for one in watched) / count,
        sum(one.within for one in watched) / count,
        sum(one.norm for one in watched) / count,
    )
    if mean.collapsed:
        raise BadDataError(
            f"The style aggregator has collapsed (style vectors of length {mean.norm:.2g}, separation "
            f"{mean.ratio:.2f}): raise weight_guard or aggregator_steps, or lower the learning rate."
        )


def train_stage2(stage1: Harmonizer, recipe: Stage2Recipe, workspace: Workspace, seed: int) -> Harmonizer:
    """Fine-tune a Stage I model to a target site, or go on with it; returns the result on the CPU.

    Raises:
        UsageError: the target site does not exist.
        NoInputError: no site qualifies, or there is nothing to fine-tune with.
        BadDataError: the style aggregator collapsed, or a file was damaged.
    """
    fabric, config = workspace.fabric, stage1.config
    train, held_out = workspace.cache(config, "train"), workspace.cache(config, "validation")
    ranking = rank_sites(train, recipe.min_scans, fabric)
    site = training_target(ranking, recipe.target_site, recipe.min_scans)
    folder = workspace.folder / "stage2"
    if fabric.is_global_zero:
        write_ranking(folder / "target_sites.tsv", ranking, site)
    psi = _new_psi(recipe, seed).to(fabric.device)
    target = TargetConfig(site, psi.encoder.name, psi.encoder.digest, recipe.aggregation)
    model = start_from(stage1, target)
    assert model.target_network is not None and model.target_records is not None
    model.target_network.checkpointing = recipe.activation_checkpointing
    set_target_records(model, model.target_records, train, site)
    model = model.to(fabric.device)
    maker = maker_of(model, psi)
    cache, held_out_cache = (
        Stage1Cache(volumes, folder / "stage1_cache", maker) for volumes in (train, held_out)
    )
    pair_maker = PairMaker(cache, site, recipe.guard_scans)
    pairs = TrainingPairs(pair_maker, recipe.accumulate, seed)
    for part in (cache, held_out_cache):
        build_cache(part, model, psi, fabric)
    train_aggregator(psi.aggregator, pair_maker, recipe, seed)
    validation = ValidationPairs(pair_maker, held_out_cache, seed)
    task = Stage2Task(model, psi, recipe, pairs, validation)
    phase = Phase(config.spacing, recipe.steps, recipe.learning_rate, recipe.accumulate)
    loop = Loop(
        fabric,
        task,
        # never out of patience: all steps are made, and the best validated average is what remains
        LoopSettings((phase,), seed, recipe.weight_average, recipe.validate_every, patience=recipe.steps),
        folder,
        fingerprint=workspace.fingerprint(recipe, site, maker, seed),
        workers=workspace.workers,
    )
    loop.run()
    assert model.target_network is not None
    model.target_network.load_state_dict(loop.averages["network"].state_dict())
    return model.cpu().to(memory_format=torch.channels_last_3d).eval()


def _new_psi(recipe: Stage2Recipe, seed: int) -> TriPlanarEncoder:
    """Ψ with an untrained aggregator, the same on every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = TriPlanarConfig(slices=recipe.slices, aggregation=recipe.aggregation)
        return TriPlanarEncoder(load_encoder(recipe.encoder), config)


def start_from(stage1: Harmonizer, target: TargetConfig) -> Harmonizer:
    """A model with a target whose second network starts as a copy of the first."""
    model = Harmonizer(replace(stage1.config, target=target))
    model.network.load_state_dict(stage1.network.state_dict())
    model.records.load_state_dict(stage1.records.state_dict())
    assert model.target_network is not None and model.target_records is not None
    model.target_network.load_state_dict(stage1.network.state_dict())
    model.target_records.load_state_dict(stage1.records.state_dict())
    return model.to(memory_format=torch.channels_last_3d)
