"""Stage I: the global harmonizer, as a task of the training loop."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.style.statistics import StyleRecords, StyleStatistics, style_statistics
from bids_mmh.synthesis.anatomies import find_anatomies
from bids_mmh.training.data.augment import augment
from bids_mmh.training.data.scan_order import Order
from bids_mmh.training.data.scans import Volume
from bids_mmh.training.data.simulated_pairs import SimulatedPair, SimulatedPairs
from bids_mmh.training.data.volume_cache import VolumeCache
from bids_mmh.training.loop.task import PhaseData
from bids_mmh.training.loop.training_loop import Loop, LoopSettings
from bids_mmh.training.recipe import Augmentation, Recipe, Simulation, model_on_grid
from bids_mmh.training.seeds import VALIDATION, draw_seed
from bids_mmh.training.stage1.objective import Observation, draw, pair_losses, stage1_losses
from bids_mmh.training.workspace import Workspace


@dataclass(frozen=True)
class TrainingVolumes:
    """Volumes of one phase by (step, part): which scan, and how it is changed, follow from the position."""

    cache: VolumeCache
    order: Order
    accumulate: int
    augmentation: Augmentation
    seed: tuple[int, int]

    def __getitem__(self, position: tuple[int, int]) -> Volume:
        """The volume of part ``part`` of step ``step``."""
        step, part = position
        index = self.order[step * self.accumulate + part]
        # the trailing 1 keeps these draws apart from those of the losses at the same position
        seed = draw_seed(*self.seed, step, part, 1)
        return self.cache.volume(index, augment(self.cache.image(index), self.augmentation, seed))


class Stage1Task:
    """Trains the network of a :class:`Harmonizer` and moves its style records.

    With γ = 0.8 a record is the style of the last few scans, never the same for long: in training that shows
    the network many styles to go to, as the unified domain it would be a matter of chance. So the records
    that are saved are averaged as slowly as the weights.

    Attributes:
        averaged: those records.
    """

    terms: Sequence[str] = ("noise", "gradient", "ema")

    def __init__(self, model: Harmonizer, recipe: Recipe, workspace: Workspace) -> None:
        self.model, self.recipe, self.workspace = model, recipe, workspace
        self.modules: Mapping[str, nn.Module] = {"network": model.network}
        config = model.config
        self.averaged = StyleRecords(len(config.sequences), config.bins, recipe.weight_average)
        self.averaged.to(model.records.mean.device)

    def data(self, phase: int) -> PhaseData:
        """Volumes on the phase's grid; records not seen yet start from the first scan of their sequence."""
        settings = self.recipe.phases[phase]
        if self.recipe.simulation is not None:
            return self._simulated(self.recipe.simulation, phase, settings.accumulate)
        # a network is trained on the voxels that it is to see
        config = model_on_grid(self.recipe.model, max(settings.spacing, self.recipe.model.network_spacing))
        train = self.workspace.cache(config, "train")
        validation = self.workspace.cache(config, "validation")
        order = Order(train.scans, self.recipe.seed, balance_sites=self.recipe.balance_sites)
        self._start_records(train, order)
        seed = (self.recipe.seed, phase)
        volumes = TrainingVolumes(train, order, settings.accumulate, self.recipe.augmentation, seed)
        return PhaseData(volumes, validation)

    def losses(
        self, modules: Mapping[str, nn.Module], item: Volume | SimulatedPair, seed: int
    ) -> tuple[Mapping[str, Tensor], Sequence[Observation]]:
        """Eq. 11 on one volume or simulated pair, and what it says about the style of its sequence."""
        chosen = draw(item, self.recipe, seed).to(item.image.device)
        if isinstance(item, SimulatedPair):
            result = pair_losses(self.model, modules["network"], item, chosen, self.recipe)
        else:
            result = stage1_losses(self.model, modules["network"], item, chosen, self.recipe)
        losses = {name: getattr(result.losses, name) for name in ("total", *self.terms)}
        return losses, [_on_cpu(one) for one in result.observed]

    def after_step(self, observed: Sequence[Observation]) -> None:
        """Eq. 9, once a step, by the observations of all processes in their order."""
        device = self.model.records.mean.device
        reliable = torch.ones(1, dtype=torch.bool)
        for one in observed:
            for records in (self.model.records, self.averaged):
                if records.seen[one.sequence]:
                    records.update(torch.tensor([one.sequence]), _on(one.style, device), reliable)
                else:
                    records.assign(one.sequence, _on(one.style, device))

    def state_dict(self) -> dict[str, Any]:
        """Both kinds of style records."""
        return {"records": self.model.records.state_dict(), "averaged": self.averaged.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self.model.records.load_state_dict(state["records"])
        self.averaged.load_state_dict(state["averaged"])

    def _simulated(self, settings: Simulation, phase: int, accumulate: int) -> PhaseData:
        """Pairs of the generator; validation on those of anatomies that training never sees."""
        folder = self.workspace.require_anatomies()

        def pairs(anatomies: Sequence[Sequence[Path]], seed: int, crops: int) -> SimulatedPairs:
            return SimulatedPairs(
                anatomies,
                self.model.config.sequences,
                seed,
                accumulate=accumulate,
                crop=settings.crop,
                crops=crops,
                subjects=settings.subjects,
                scanners=settings.scanners,
                unchanged=settings.unchanged,
                bins=self.model.config.bins,
                coarsening=self.model.config.coarsening,
                denoise=self.model.config.denoise,
            )

        train = pairs(find_anatomies(folder, settings.held_out), settings.seed + phase, settings.crops)
        apart = [[file for file in kind if file.stem in settings.held_out] for kind in find_anatomies(folder)]
        apart = [kind for kind in apart if len(kind) >= settings.subjects]
        count = settings.validation_items if apart else 0
        made = pairs(apart, draw_seed(settings.seed, VALIDATION), 1) if count else None
        validation = [made[divmod(n, accumulate)] for n in range(count)] if made else []
        return PhaseData(train, validation)

    def _start_records(self, cache: VolumeCache, order: Order) -> None:
        count = len({scan.sequence for scan in cache.scans})  # they take turns: each is among the first
        for n in range(count):
            volume = cache[order[n]]
            style = style_statistics(volume.image, volume.mask, self.model.config.bins)
            for records in (self.model.records, self.averaged):
                records.initialise(volume.sequence, _on(style, records.mean.device))


def train_stage1(recipe: Recipe, workspace: Workspace, start: Harmonizer | None = None) -> Harmonizer:
    """Train Stage I, or go on with it, and return the averaged model on the CPU.

    Args:
        recipe: what to train and how.
        workspace: of the run.
        start: a model whose network it begins with instead of random weights; its records, the domains of
            another study, are left behind.
    """
    fabric = workspace.fabric
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = Harmonizer(recipe.model)
    if start is not None:
        model.network.load_state_dict(start.network.state_dict())
    model = model.to(fabric.device).to(memory_format=torch.channels_last_3d)
    model.network.checkpointing = recipe.activation_checkpointing
    task = Stage1Task(model, recipe, workspace)
    settings = LoopSettings(
        phases=recipe.phases,
        seed=recipe.seed,
        weight_average=recipe.weight_average,
        validate_every=recipe.validate_every,
        patience=recipe.patience,
    )
    loop = Loop(
        fabric,
        task,
        settings,
        workspace.folder / "stage1",
        fingerprint=workspace.fingerprint(replace(recipe, stage2=None), *([_digest(start)] if start else [])),
        workers=workspace.workers,
    )
    loop.run()
    trained = Harmonizer(recipe.model)
    trained.network.load_state_dict(loop.averages["network"].state_dict())
    trained.records.load_state_dict(task.averaged.state_dict())
    return trained.to(memory_format=torch.channels_last_3d).eval()


def _digest(start: Harmonizer) -> str:
    """Identifies the network that training starts from."""
    digest = hashlib.sha256()
    for name, value in start.network.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _on(style: StyleStatistics, device: torch.device | str) -> StyleStatistics:
    return style.map(lambda tensor: tensor.to(device))


def _on_cpu(one: Observation) -> Observation:
    return Observation(one.sequence, _on(one.style, "cpu"))
