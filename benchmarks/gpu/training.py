"""Third stage: the embedded model, trained on simulated pairs with the generator on the GPU."""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.plan import Plan, RecipeValues, Stage, new_model, read_anatomies, read_recipe, run_stage
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.precision import has_native_bf16
from bids_mmh.method.style.statistics import StyleRecords, join_styles
from bids_mmh.synthesis.anatomies import Anatomy
from bids_mmh.training.data.simulated_pairs import SimulatedPair, SimulatedPairs
from bids_mmh.training.seeds import draw_seed
from bids_mmh.training.stage1.objective import Draw, Losses, PairWeights, pair_losses

NAME = "training"
COLUMNS = ("step", "seconds", "s a step", "of that generator", "learning rate", "loss", "noise", "gradient")
KEPT = 3  # checkpoints, of about 15 MiB each: with the results five files and fewer than 64 MiB
LARGEST_GRADIENT = 1.0  # norm
LAST_RATE = 0.01  # of the peak, at the end


def losses(
    model: Harmonizer, network: nn.Module, pair: SimulatedPair, chosen: Draw, weights: PairWeights
) -> Losses:
    """Eq. 11 on simulated pairs."""
    return pair_losses(model, network, pair, chosen, weights).losses


class InBfloat16(nn.Module):
    """Calls a network in bfloat16 where the device has it; answers in float32."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.network, self.kind, self.half = network, device.type, has_native_bf16(device)

    def forward(self, *arguments: Any, **options: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Both answers of a network that is asked to ``split``."""
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.half):
            answers = self.network(*arguments, **options)
        return tuple(None if one is None else one.float() for one in answers)


class Streams:
    """Batches of pairs, each item from a stream of studies of its own.

    A batch out of one study would show one sequence and a few scanners. Streams begin at different places of
    their studies, so that they do not all simulate at once.
    """

    def __init__(
        self,
        anatomies: Sequence[Sequence[Anatomy]],
        recipe: RecipeValues,
        plan: Plan,
        device: torch.device,
    ) -> None:
        self.streams = [
            SimulatedPairs(
                anatomies,
                recipe.model.sequences,
                draw_seed(recipe.seed, number),
                accumulate=1,
                crop=plan.crop,
                crops=plan.crops,
                bins=recipe.model.bins,
                coarsening=recipe.model.coarsening,
                denoise=recipe.model.denoise,
                device=device,
            )
            for number in range(plan.streams)
        ]
        length = len(self.streams[0].pairs) * plan.crops
        sequences = len(recipe.model.sequences)
        self.starts = [n * length // plan.streams + (n % sequences) * length for n in range(plan.streams)]

    def __getitem__(self, step: int) -> list[SimulatedPair]:
        """The items of a step."""
        return [stream[start + step, 0] for stream, start in zip(self.streams, self.starts, strict=True)]


def batch(pairs: Sequence[SimulatedPair]) -> SimulatedPair:
    """One batch of several pairs."""
    tensors = ("image", "target", "mask", "gradient", "sequence")
    images = {name: torch.cat([getattr(p, name) for p in pairs]) for name in tensors}
    styles = {name: join_styles([getattr(p, name) for p in pairs]) for name in ("own", "style", "seen")}
    return SimulatedPair(**images, **styles)


def draw(pair: SimulatedPair, deepest: int, seed: int) -> Draw:
    """Timesteps and noise, drawn on the device."""
    device = pair.image.device
    generator = torch.Generator(device).manual_seed(seed)
    count = len(pair.image)
    t = torch.randint(1, deepest + 1, (count,), generator=generator, device=device)
    noise = torch.randn(pair.image.shape, generator=generator, device=device)
    return Draw(t, noise, torch.zeros(count, dtype=torch.bool, device=device))


@dataclass
class State:
    """What training changes.

    Attributes:
        model: in training.
        average: network of averaged weights, which is what a checkpoint is for.
        records: averages of the styles seen.
        step: steps done.
    """

    model: Harmonizer
    average: nn.Module
    records: StyleRecords
    step: int = 0

    @torch.no_grad()
    def averaged(self, pairs: Sequence[SimulatedPair], decay: float) -> None:
        """Move weights' averages and records after a step; faster at first, when there is little to keep."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        for mean, new in zip(self.average.parameters(), self.model.network.parameters(), strict=True):
            mean.lerp_(new, 1 - decay)
        for pair in pairs:
            m = int(pair.sequence[0])
            if self.records.seen[m]:
                self.records.update(pair.sequence, pair.seen, torch.ones(1, dtype=torch.bool))
            else:
                self.records.assign(m, pair.seen)


def new_state(recipe: RecipeValues, decay: float, device: torch.device) -> State:
    """Untrained."""
    model = new_model(recipe.model, recipe.seed, device)
    records = StyleRecords(len(recipe.model.sequences), recipe.model.bins, decay).to(device)
    return State(model, copy.deepcopy(model.network).requires_grad_(False), records)


def save(state: State, folder: Path) -> Path:
    """Write a checkpoint and remove the oldest beyond those kept.

    Weights are in float16, both those in training and their averages: the optimizer's moments would not fit,
    and come back in a warm-up.
    """
    half = {
        name: {key: value.detach().half().cpu() for key, value in network.state_dict().items()}
        for name, network in (("network", state.model.network), ("average", state.average))
    }
    records = {key: value.cpu() for key, value in state.records.state_dict().items()}
    content = {**half, "records": records, "step": state.step, "config": state.model.config.to_dict()}
    file = folder / f"checkpoint-{state.step:06d}.pt"
    partial = folder / f".{file.name}.part"
    torch.save(content, partial)
    partial.replace(file)
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink()
    return file


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a folder, oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))


def load(file: Path) -> dict[str, Any]:
    """What :func:`save` wrote, weights in float32."""
    content = torch.load(file, map_location="cpu", weights_only=True)
    for name in ("network", "average"):
        content[name] = {key: value.float() for key, value in content[name].items()}
    return content


def resume(state: State, folder: Path) -> bool:
    """Go on from the newest checkpoint of a folder, if one fits."""
    for file in reversed(checkpoints(folder)):
        content = load(file)
        if content["config"] != state.model.config.to_dict():
            continue
        state.model.network.load_state_dict(content["network"])
        state.average.load_state_dict(content["average"])
        state.records.load_state_dict(content["records"])
        state.step = content["step"]
        return True
    return False


def run(stage: Stage) -> None:
    """Train until the time is over, with a checkpoint and a row every minute."""
    begun = time.monotonic()
    plan, recipe = stage.plan, read_recipe(stage.plan.shape)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    state = new_state(recipe, plan.weight_average, stage.device)
    resumed = resume(state, stage.report.folder)
    stage.report.start(NAME, COLUMNS, keep=resumed)
    if resumed:
        stage.report.note(NAME, f"Went on from step {state.step}.")
    anatomies = read_anatomies(stage, recipe.held_out, training=True)
    count = sum(map(len, anatomies))
    note = f"{count} anatomies, batches of {plan.streams} cubes of {plan.crop} voxels."
    stage.report.note(NAME, note)
    train(state, Streams(anatomies, recipe, plan, stage.device), stage, recipe, begun)
    file = save(state, stage.report.folder)
    stage.report.finish(NAME, f"{state.step} steps", checkpoint=file.name)


def train(state: State, streams: Streams, stage: Stage, recipe: RecipeValues, begun: float) -> None:
    """The loop: Adam, a warm-up, and a cosine over the time that is left."""
    plan = stage.plan
    network = InBfloat16(state.model.network, stage.device)
    optimizer = torch.optim.Adam(network.parameters())
    first, start = state.step, time.monotonic()
    meter = Meter(start, state.step)
    while time.monotonic() - begun < stage.seconds and state.step - first != plan.most_steps:
        progress = (time.monotonic() - start) / max(stage.seconds - (start - begun), 1e-6)
        rate = plan.learning_rate * learning_rate(state.step - first, plan.warm_up, progress)
        for group in optimizer.param_groups:
            group["lr"] = rate
        waited = time.monotonic()
        pairs = streams[state.step]
        meter.generator += time.monotonic() - waited
        joined = batch(pairs)
        chosen = draw(joined, recipe.max_timestep, draw_seed(recipe.seed, 7, state.step))
        found = losses(state.model, network, joined, chosen, recipe)
        found.total.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        if torch.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.averaged(pairs, plan.weight_average)
        meter.add(found)
        if time.monotonic() - meter.since > plan.checkpoint_seconds:
            save(state, stage.report.folder)
            stage.report.row(NAME, *meter.row(state.step, begun, rate))
    if meter.count:
        stage.report.row(NAME, *meter.row(state.step, begun, rate))


def learning_rate(steps: int, warm_up: int, progress: float) -> float:
    """Share of the peak: rises over ``warm_up`` steps, falls with the cosine of the time spent."""
    cosine = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return min(1.0, (steps + 1) / warm_up) * cosine


@dataclass
class Meter:
    """Means since the last row."""

    since: float
    step: int
    generator: float = 0.0
    count: int = 0
    sums: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def add(self, found: Losses) -> None:
        """Losses of a step."""
        new = (float(found.total), float(found.noise), float(found.gradient))
        self.sums = tuple(a + b for a, b in zip(self.sums, new, strict=True))  # type: ignore[assignment]
        self.count += 1

    def row(self, step: int, begun: float, rate: float) -> tuple[float | int, ...]:
        """A row of the table; begins anew."""
        now = time.monotonic()
        each = (now - self.since) / self.count
        means = tuple(value / self.count for value in self.sums)
        row = (step, round(now - begun, 1), each, self.generator / self.count, rate, *means)
        self.since, self.step, self.generator, self.count, self.sums = now, step, 0.0, 0, (0.0, 0.0, 0.0)
        return row


if __name__ == "__main__":
    run_stage(run)
