"""What a run does: its sizes, its share of the time for each stage, and the recipe that it follows."""

import argparse
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.report import Report
from bids_mmh.errors import NoInputError
from bids_mmh.method.config import PRESETS, ModelConfig, NetworkConfig
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.synthesis.anatomies import Anatomy, find_anatomies, load_anatomy

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (144, 184, 184)


@dataclass(frozen=True)
class Plan:
    """Sizes of a run. Not tuned on a GPU: change them after a first one.

    Attributes:
        shape: grid of anatomies and model.
        speed_size: of the volumes in the table of speed.
        repeats: of each measurement there; the fastest counts.
        crop: side in voxels of the cubes trained on, a multiple of 8.
        streams: studies that a batch is drawn from, one item of each: the batch size.
        crops: of each pair before a stream goes on to its next study.
        learning_rate: peak.
        weight_average: decay of the averages of weights and records.
        warm_up: steps in which the learning rate rises, again after each resumption.
        most_steps: stop after so many, or None to train until the time is over.
        checkpoint_seconds: between checkpoints.
        studies: to validate on, sequences taking turns.
        most_anatomies: of each kind, held-out and other ones; None takes all.
    """

    shape: tuple[int, int, int] = SHAPE
    speed_size: tuple[int, int, int] = SHAPE
    repeats: int = 3
    crop: int = 96
    streams: int = 8
    crops: int = 3
    learning_rate: float = 1e-3
    weight_average: float = 0.998
    warm_up: int = 50
    most_steps: int | None = None
    checkpoint_seconds: float = 60.0
    studies: int = 4
    most_anatomies: int | None = None


REHEARSAL = Plan(
    shape=(18, 23, 23),
    speed_size=(16, 16, 16),
    repeats=1,
    crop=16,
    streams=2,
    crops=1,
    warm_up=2,
    most_steps=4,
    checkpoint_seconds=0.0,
    studies=2,
    most_anatomies=2,
)


@dataclass(frozen=True)
class Stage:
    """Arguments of every stage.

    Attributes:
        plan: sizes.
        anatomies: folder of prepared anatomies.
        report: where results go.
        seconds: budget of this stage.
        device: to compute on.
        wheel: of MONAI, or None.
    """

    plan: Plan
    anatomies: Path
    report: Report
    seconds: float
    device: torch.device
    wheel: Path | None


def run_stage(run: Callable[[Stage], None], argv: Sequence[str] | None = None) -> None:
    """Read a stage's command line and run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--monai-wheel", type=Path)
    options = parser.parse_args(argv)
    gpu = torch.cuda.is_available() and not options.rehearse
    run(
        Stage(
            plan=REHEARSAL if options.rehearse else Plan(),
            anatomies=options.anatomies,
            report=Report(options.out),
            seconds=options.seconds,
            device=torch.device("cuda" if gpu else "cpu"),
            wheel=options.monai_wheel,
        )
    )


@dataclass(frozen=True)
class RecipeValues:
    """What ``recipes/embedded.toml`` says, read without the packages that check recipes.

    Attributes:
        model: the embedded model.
        held_out: names of anatomies that training never sees.
        seed: of everything.
        max_timestep: deepest t trained.
        weight_noise: weight of L_N.
        weight_gradient: weight of L_G.
        gradient_scales: resolutions of L_G.
    """

    model: ModelConfig
    held_out: tuple[str, ...]
    seed: int
    max_timestep: int
    weight_gradient: float
    gradient_scales: int
    weight_noise: float = 1.0


def read_recipe(shape: tuple[int, int, int], path: Path = ROOT / "recipes" / "embedded.toml") -> RecipeValues:
    """The recipe of the embedded model, on a grid of ``shape`` over the same box."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    training, simulation = tables["training"], tables["simulation"]
    return RecipeValues(
        model=_model(tables["model"], shape),
        held_out=tuple(simulation["held_out"]),
        seed=training["seed"],
        max_timestep=training["max_timestep"],
        weight_gradient=training["weight_gradient"],
        gradient_scales=training["gradient_scales"],
        weight_noise=training.get("weight_noise", 1.0),
    )


def _model(table: dict[str, Any], shape: tuple[int, int, int]) -> ModelConfig:
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in table.items()}
    preset = PRESETS[settings.pop("preset")]
    known = {field.name for field in fields(NetworkConfig)}
    network = replace(preset.network, **{name: v for name, v in settings.items() if name in known})
    rest = {name: v for name, v in settings.items() if name not in known}
    return replace(preset, network=network, shape=shape, spacing=SHAPE[0] / shape[0], **rest)


def new_model(config: ModelConfig, seed: int, device: torch.device, *, answers: float = 0.0) -> Harmonizer:
    """A model whose weights follow from ``seed``.

    Args:
        config: of the model.
        seed: of its weights.
        device: to put it on.
        answers: standard deviation of what is added to all weights: a fresh network answers 0.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Harmonizer(config)
        with torch.no_grad():
            for parameter in model.network.parameters() if answers else ():
                parameter.add_(answers * torch.randn(parameter.shape))
    return model.to(device).to(memory_format=torch.channels_last_3d)


def read_anatomies(stage: Stage, held_out: Sequence[str], *, training: bool) -> list[list[Anatomy]]:
    """Anatomies on the stage's device, by kind: those to train on, or those held out.

    Kinds of which fewer than two are left cannot make a study and are dropped.

    Raises:
        NoInputError: none is left.
    """
    wanted = [
        [path for path in kind if (path.stem in held_out) != training]
        for kind in find_anatomies(stage.anatomies)
    ]
    kinds = [kind[: stage.plan.most_anatomies] for kind in wanted if len(kind) > 1]
    if not kinds:
        which = "to train on" if training else "held out by recipes/embedded.toml"
        raise NoInputError(f"{stage.anatomies} has no two anatomies of one kind {which}.")

    def read(path: Path) -> Anatomy:
        return _thinned(load_anatomy(path, stage.device), stage.plan.shape)

    with ThreadPoolExecutor() as pool:  # unpacking releases the interpreter
        return [list(pool.map(read, kind)) for kind in kinds]


def _thinned(anatomy: Anatomy, shape: tuple[int, int, int]) -> Anatomy:
    """Every n-th voxel of an anatomy: coarse, for rehearsals."""
    n = anatomy.first.shape[0] // shape[0]
    if n == 1:
        return anatomy
    parts = (getattr(anatomy, field.name)[::n, ::n, ::n].contiguous() for field in fields(Anatomy))
    return Anatomy(*parts)
