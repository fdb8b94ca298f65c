"""A recipe: everything that decides what a training run produces, in one TOML file."""

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import PositiveFloat, PositiveInt, TypeAdapter, ValidationError

from bids_mmh.errors import UsageError
from bids_mmh.method.config import PRESETS, ModelConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True)
class Phase:
    """One stretch of training on one grid.

    Attributes:
        spacing: voxel size in mm of the grid.
        steps: optimizer steps.
        learning_rate: peak of a linear warm-up and cosine decay.
        accumulate: volumes per optimizer step.
    """

    spacing: PositiveFloat
    steps: PositiveInt
    learning_rate: PositiveFloat = 1e-4
    accumulate: PositiveInt = 4


@dataclass(frozen=True)
class Recipe:
    """Stage I settings. Loss weights bring the terms of Eq. 11 to comparable size.

    Attributes:
        model: configuration of the model to train, on the grid that it will be used on.
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
    max_timestep: PositiveInt = 1000
    unified_share: float = 0.5
    weight_noise: float = 1.0
    weight_gradient: float = 1.0
    weight_ema: float = 1.0
    weight_average: float = 0.995
    validate_every: PositiveInt = 100


def model_on_grid(model: ModelConfig, spacing: float) -> ModelConfig:
    """The same model on the grid of another voxel size (the field of view stays 144×184×184 mm)."""
    h, w, d = (round(side / spacing) for side in (144, 184, 184))
    return replace(model, spacing=spacing, shape=(h, w, d))


@dataclass(frozen=True)
class _Tables:
    model: dict[str, Any] = field(default_factory=dict)
    phase: list[dict[str, Any]] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    ``[model]`` takes ``preset`` and any field of :class:`ModelConfig` but the network; ``[[phase]]`` tables
    are :class:`Phase`; ``[training]`` holds the other fields of :class:`Recipe`.

    Raises:
        UsageError: not TOML, an unknown key or preset, a value missing or of the wrong kind, or no phase.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"The recipe {path} cannot be read: {error}.") from error
    tables = _build(path, _Tables, values)
    if not tables.phase:
        raise UsageError(f"{path}: no [[phase]] table, so there is nothing to train.")
    phases = tuple(_build(path, Phase, table) for table in tables.phase)
    return _build(path, Recipe, tables.training, model=_model(path, tables.model), phases=phases)


def _model(path: Path, table: dict[str, Any]) -> ModelConfig:
    settings = dict(table)
    preset = str(settings.pop("preset", "lite"))
    if preset not in PRESETS:
        raise UsageError(f"{path}: unknown preset '{preset}'; there are {', '.join(PRESETS)}.")
    values = {field.name: getattr(PRESETS[preset], field.name) for field in fields(ModelConfig)}
    fixed = {name: values.pop(name) for name in ("network", "shape", "spacing")}
    spacing = settings.pop("spacing", fixed["spacing"])
    return model_on_grid(_build(path, ModelConfig, {**values, **settings}, **fixed), float(spacing))


def _build(path: Path, kind: type[T], values: dict[str, Any], **given: Any) -> T:  # noqa: ANN401
    """Make a ``kind`` of a table's ``values`` and what is ``given`` beside it, types checked by pydantic."""
    known = {field.name for field in fields(kind)} - set(given)
    unknown = sorted(set(values) - known)
    if unknown:
        raise UsageError(f"{path}: unknown key '{unknown[0]}'; known are {', '.join(sorted(known))}.")
    try:
        return TypeAdapter(kind).validate_python({**values, **given})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UsageError(f"{path}: wrong value of '{where}': {problem['msg'].lower()}.") from error
