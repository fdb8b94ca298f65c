"""A recipe: everything that decides what a training run produces, in one TOML file."""

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from bids_mmh.errors import UsageError
from bids_mmh.method.config import PRESETS, ModelConfig, NetworkConfig, ScheduleConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True)
class Phase:
    """One stretch of training on one grid.

    Attributes:
        spacing: voxel size in mm of the grid; that of the network where it is coarser. Simulated pairs are of
            1 mm, and seen at the network's.
        steps: optimizer steps.
        learning_rate: peak of a linear warm-up and cosine decay.
        accumulate: volumes per optimizer step, over all processes.
    """

    spacing: PositiveFloat
    steps: PositiveInt
    learning_rate: PositiveFloat = 1e-4
    accumulate: PositiveInt = 4


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the training volumes; all off by default.

    The first four move image and mask together and leave intensities in the brain as they are (rotation and
    scaling interpolate them). The last three change the style, which is what the model is to learn: they
    make it see styles that no site has.

    Attributes:
        flip: mirror left and right in half of the volumes.
        shift: largest shift along each axis in voxels; the brain never leaves the grid.
        rotate: largest rotation about each axis in degrees.
        scale: largest relative change of size along each axis.
        gamma: largest absolute logarithm of the exponent that intensities are raised to.
        noise: largest standard deviation of Gaussian noise in scaled units.
        bias: largest coefficient of a smooth multiplicative field (its logarithm, a cubic polynomial).
    """

    flip: bool = False
    shift: NonNegativeInt = 0
    rotate: NonNegativeFloat = 0.0
    scale: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    gamma: NonNegativeFloat = 0.0
    noise: NonNegativeFloat = 0.0
    bias: NonNegativeFloat = 0.0


@dataclass(frozen=True)
class Stage2Recipe:
    """Stage II settings: fine-tuning to a target site.

    Attributes:
        steps: optimizer steps.
        learning_rate: peak of a linear warm-up and cosine decay; of the network and of the aggregator.
        aggregator_steps: steps in which the aggregator learns to separate acquisitions (the guard alone)
            before the network is touched; it starts from random weights.
        aggregator_learning_rate: of those steps.
        accumulate: source volumes per optimizer step, over all processes.
        backprop_steps: last K of the T_r sampling steps that gradients flow through.
        weight_style: weight of L_S (Eq. 19).
        weight_consistency: weight of L_C.
        weight_gradient: weight of L_G.
        gradient_scales: resolutions at which L_G compares gradients; 1 is the paper's.
        weight_contrast: weight of the part of the change that is no function of intensity, in units of the
            noise at the model's depth; 0 is the paper's.
        weight_guard: weight of the guard against a collapsed style aggregator.
        target_site: name of the target site, or ``auto`` for the site with the least style variability.
        encoder: slice encoder: ``embedded``, ``biomedclip``, ``clip`` or a folder or file of weights.
        aggregation: how slices become one embedding a view: ``attention``, or ``axial_mean`` to ablate it.
        slices: slices Z of each view.
        guard_scans: scans whose style vectors the guard compares in each step.
        weight_average: decay of the average of weights that is saved.
        min_scans: a site with fewer scans of a sequence does not qualify as the automatic target.
        validate_every: steps between validations, which also write a checkpoint.
        activation_checkpointing: recompute activations in the backward pass: less memory, more time.
    """

    steps: PositiveInt = 200
    learning_rate: PositiveFloat = 5e-7
    aggregator_steps: NonNegativeInt = 200
    aggregator_learning_rate: PositiveFloat = 1e-3
    accumulate: PositiveInt = 4
    backprop_steps: PositiveInt = 10
    weight_style: NonNegativeFloat = 1.0
    weight_consistency: NonNegativeFloat = 1.0
    weight_gradient: NonNegativeFloat = 1.0
    gradient_scales: PositiveInt = 4
    weight_contrast: NonNegativeFloat = 10.0
    weight_guard: NonNegativeFloat = 1.0
    target_site: str = "auto"
    encoder: str = "embedded"
    aggregation: Literal["attention", "axial_mean"] = "attention"
    slices: PositiveInt = 24
    guard_scans: PositiveInt = 12
    weight_average: Annotated[float, Field(ge=0, lt=1)] = 0.98
    min_scans: PositiveInt = 3
    validate_every: PositiveInt = 50
    activation_checkpointing: bool = False


@dataclass(frozen=True)
class Simulation:
    """Training on pairs that a generator makes on the fly (docs/training.md).

    Attributes:
        held_out: names of anatomies that are never seen, for validation and for figures.
        crop: side in voxels of the network of the crops trained on, a multiple of 8.
        crops: crops of each pair before the next study is simulated.
        subjects: of a simulated study.
        scanners: of a simulated study.
        unchanged: share of items whose style stays.
        validation_items: pairs to validate on, of anatomies that are held out.
        seed: of the generator.
    """

    held_out: tuple[str, ...] = ()
    crop: PositiveInt = 80
    crops: PositiveInt = 3
    subjects: Annotated[int, Field(ge=2)] = 2
    scanners: Annotated[int, Field(ge=2)] = 3
    unchanged: Annotated[float, Field(ge=0, le=1)] = 0.15
    validation_items: NonNegativeInt = 24
    seed: NonNegativeInt = 0


@dataclass(frozen=True)
class Recipe:
    """Stage I settings, and those of Stage II where there is to be one.

    Loss weights bring the terms of Eq. 11 to comparable size.

    Attributes:
        model: configuration of the model to train, on the grid that it will be used on.
        phases: trained one after the other, from coarse to fine.
        augmentation: random changes of the training volumes.
        simulation: train on simulated pairs, or None to train on scans alone.
        stage2: fine-tuning to a target site after Stage I, or None.
        seed: seeds weights, data order, noise and timesteps.
        validation: fraction of subjects held out, drawn evenly over the sites.
        test_subjects: subjects that are never read.
        travelling: what to do with subjects scanned at several sites: keep them all for ``test``, or
            ``train`` with them like with anyone else.
        balance_sites: draw each site equally often, however many scans it has.
        max_timestep: largest t trained; the model never sees a deeper one.
        unified_share: share of samples conditioned on the record instead of their own style.
        weight_noise: weight of L_N.
        weight_gradient: weight of L_G.
        weight_ema: weight of L_E.
        gradient_scales: resolutions at which L_G compares gradients; 1 is the paper's.
        noise_up_to_contrast: of samples conditioned on the record, L_N counts in the brain too, up to a
            function of intensity; false counts it in the background alone.
        weight_average: decay of the averages of weights and of style records that are saved.
        validate_every: steps between validations, which also write a checkpoint.
        patience: stop a phase after this many validations without a better total, and keep the best
            average; 0 trains to the end and keeps the last one.
        activation_checkpointing: recompute activations in the backward pass: less memory, more time.
    """

    model: ModelConfig
    phases: tuple[Phase, ...]
    augmentation: Augmentation = field(default_factory=Augmentation)
    simulation: Simulation | None = None
    stage2: Stage2Recipe | None = None
    seed: NonNegativeInt = 0
    validation: Annotated[float, Field(ge=0, le=1)] = 0.2
    test_subjects: tuple[str, ...] = ()
    travelling: Literal["test", "train"] = "test"
    balance_sites: bool = False
    max_timestep: PositiveInt = 1000
    unified_share: float = 0.5
    weight_noise: float = 1.0
    weight_gradient: float = 1.0
    weight_ema: float = 1.0
    gradient_scales: PositiveInt = 4
    noise_up_to_contrast: bool = True
    weight_average: Annotated[float, Field(ge=0, lt=1)] = 0.995
    validate_every: PositiveInt = 100
    patience: NonNegativeInt = 0
    activation_checkpointing: bool = False


def model_on_grid(model: ModelConfig, spacing: float) -> ModelConfig:
    """The same model on the grid of another voxel size (the field of view stays 144×184×184 mm)."""
    h, w, d = (round(side / spacing) for side in (144, 184, 184))
    return replace(model, spacing=spacing, shape=(h, w, d))


NETWORK_SWITCHES = (
    "channels",
    "attention",
    "style_code",
    "direct_change",
    "intensity_bins",
)  # departures from the paper that a recipe can take back


@dataclass(frozen=True)
class _Tables:
    model: dict[str, Any] = field(default_factory=dict)
    phase: list[dict[str, Any]] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)
    simulation: dict[str, Any] | None = None
    stage2: dict[str, Any] | None = None


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    ``[model]`` takes ``preset``, ``style_code``, ``direct_change`` and any field of :class:`ModelConfig` but
    the network and the target, ``[model.schedule]`` those of :class:`ScheduleConfig`. ``[[phase]]`` tables
    are :class:`Phase`, ``[augmentation]`` is :class:`Augmentation` and ``[stage2]``, if it is there,
    :class:`Stage2Recipe`; ``[training]`` holds the other fields of :class:`Recipe`.

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
    return _build(
        path,
        Recipe,
        tables.training,
        model=_model(path, tables.model),
        phases=phases,
        augmentation=_build(path, Augmentation, tables.augmentation),
        simulation=None if tables.simulation is None else _build(path, Simulation, tables.simulation),
        stage2=None if tables.stage2 is None else _build(path, Stage2Recipe, tables.stage2),
    )


def _model(path: Path, table: dict[str, Any]) -> ModelConfig:
    settings = dict(table)
    preset = str(settings.pop("preset", "lite"))
    style = {name: settings.pop(name) for name in NETWORK_SWITCHES if name in settings}
    if preset not in PRESETS:
        raise UsageError(f"{path}: unknown preset '{preset}'; there are {', '.join(PRESETS)}.")
    values = {field.name: getattr(PRESETS[preset], field.name) for field in fields(ModelConfig)}
    fixed = {name: values.pop(name) for name in ("network", "shape", "spacing", "target", "schedule")}
    if style.get("style_code", "tissues") != "tissues":
        style.setdefault("intensity_bins", 0)  # they are placed by the medians of tissues
    network = {name: value for name, value in vars(fixed["network"]).items() if name not in style}
    fixed["network"] = _build(path, NetworkConfig, style, **network)
    fixed["schedule"] = _schedule(path, fixed["schedule"], settings.pop("schedule", {}))
    spacing = settings.pop("spacing", fixed["spacing"])
    return model_on_grid(_build(path, ModelConfig, {**values, **settings}, **fixed), float(spacing))


def _schedule(path: Path, preset: ScheduleConfig, table: Any) -> ScheduleConfig:  # noqa: ANN401
    if not isinstance(table, dict):
        raise UsageError(f"{path}: wrong value of 'schedule': it is a table, [model.schedule].")
    return _build(path, ScheduleConfig, {**vars(preset), **table})


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
