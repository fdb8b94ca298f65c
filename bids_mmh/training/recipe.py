"""A recipe: everything that decides what a training run produces, in one TOML file."""

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bids_mmh.errors import UsageError
from bids_mmh.method.config import PRESETS, ModelConfig


@dataclass(frozen=True)
class Phase:
    """One stretch of training on one grid.

    Attributes:
        spacing: voxel size in mm of the grid.
        steps: optimizer steps.
        learning_rate: peak of a linear warm-up and cosine decay.
        accumulate: volumes per optimizer step.
    """

    spacing: float
    steps: int
    learning_rate: float = 1e-4
    accumulate: int = 4


@dataclass(frozen=True)
class Recipe:
    """Stage I settings. Loss weights bring the terms of Eq. 11 to comparable size.

    Attributes:
        model: configuration of the model to train, on the grid of the last phase.
        phases: trained one after the other, from coarse to fine.
        seed: seeds weights, data order, noise and timesteps.
        validation: fraction of subjects held out.
        max_timestep: largest t trained; the model never sees a deeper one.
        unified_share: share of samples conditioned on the record instead of their own style.
        weight_noise: weight of L_N.
        weight_gradient: weight of L_G.
        weight_ema: weight of L_E.
        weight_average: decay of the average of weights that is saved.
        validate_every: steps between validations, which also write a checkpoint.
    """

    model: ModelConfig
    phases: tuple[Phase, ...]
    seed: int = 0
    validation: float = 0.2
    max_timestep: int = 1000
    unified_share: float = 0.5
    weight_noise: float = 1.0
    weight_gradient: float = 1.0
    weight_ema: float = 1.0
    weight_average: float = 0.995
    validate_every: int = 100


def model_on_grid(model: ModelConfig, spacing: float) -> ModelConfig:
    """The same model on the grid of another voxel size (the field of view stays 144×184×184 mm)."""
    h, w, d = (round(side / spacing) for side in (144, 184, 184))
    return replace(model, spacing=spacing, shape=(h, w, d))


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    ``[model]`` takes ``preset`` and any field of :class:`ModelConfig` but the network; ``[[phase]]`` tables
    are :class:`Phase`; ``[training]`` holds the other fields of :class:`Recipe`.

    Raises:
        UsageError: not TOML, an unknown key, or an unknown preset.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"The recipe {path} cannot be read: {error}.") from error
    _check_keys(path, values, {"model", "phase", "training"})
    settings: dict[str, Any] = values.get("model", {})
    preset = settings.pop("preset", "lite")
    if preset not in PRESETS:
        raise UsageError(f"{path}: unknown preset '{preset}'; there are {', '.join(PRESETS)}.")
    _check_keys(path, settings, {f.name for f in fields(ModelConfig)} - {"network", "shape", "spacing"})
    _check_keys(path, values.get("training", {}), {f.name for f in fields(Recipe)} - {"model", "phases"})
    phases = tuple(_phase(path, table) for table in values.get("phase", []))
    if not phases:
        raise UsageError(f"{path}: no [[phase]] table, so there is nothing to train.")
    model = replace(
        PRESETS[preset], **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    )
    return Recipe(model=model_on_grid(model, phases[-1].spacing), phases=phases, **values.get("training", {}))


def _phase(path: Path, table: dict[str, Any]) -> Phase:
    _check_keys(path, table, {f.name for f in fields(Phase)})
    return Phase(**table)


def _check_keys(path: Path, values: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        raise UsageError(f"{path}: unknown key '{unknown[0]}'; known are {', '.join(sorted(known))}.")
