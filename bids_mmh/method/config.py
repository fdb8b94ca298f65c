"""What a model is: architecture, sequences, grid, scaling, schedule and sampling, as saved in config.json."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

BACKGROUND = -1.0  # scaled intensity outside the brain
_LARGEST_VOXEL = 64.0  # mm
_MOST, _DEEPEST = 2048, 8  # of channels, steps, bins and voxels of a side; of levels

StyleCodeKind = Literal["tissues", "displacement", "record"]
"""What AdaIN is conditioned on, see :mod:`bids_mmh.method.style.code`."""
IntensityMap = Literal["tissues", "moments", "none"]
"""How intensities are mapped before or while the network changes them, see :class:`ModelConfig`."""


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture of the conditional U-Net.

    Attributes:
        channels: feature channels per level, finest first.
        attention: self-attention per level, same length (the middle block always has it).
        res_blocks: residual blocks per encoder level (the decoder has one more, for the extra skip).
        patch: edge in voxels of the space-to-depth stem; 1 works on voxels (the paper), 2 folds 2×2×2
            voxels into channels and makes a call about eight times cheaper.
        groups: groups of GroupNorm.
        head_channels: channels per attention head.
        style_code: what AdaIN is conditioned on (see :mod:`bids_mmh.method.style.code`).
        direct_change: whether the network answers with a change of the clean volume beside ε, and its direct
            path from input to output depends on the style too (docs/method.md).
        intensity_bins: soft bins of intensity beside the volume, placed by the medians of the target's
            tissues; they keep the level of a voxel, which normalisations remove. Needs the
            style code ``tissues``.
    """

    channels: tuple[int, ...]
    attention: tuple[bool, ...]
    res_blocks: int
    patch: int = 1
    groups: int = 8
    head_channels: int = 32
    style_code: StyleCodeKind = "tissues"
    direct_change: bool = True
    intensity_bins: int = 7

    def __post_init__(self) -> None:
        """Refuse what no network can be built from (ValueError)."""
        _limit(self, ("res_blocks", "patch", "groups", "head_channels"), 1)
        if not self.channels or len(self.attention) != len(self.channels):
            raise ValueError("channels and attention must name the same levels, at least one")
        if not all(0 < channels <= _MOST for channels in self.channels) or len(self.channels) > _DEEPEST:
            raise ValueError(f"channels {self.channels} are no channels of a network that fits into memory")
        if any(channels % self.groups for channels in self.channels):
            raise ValueError(f"channels {self.channels} must be multiples of {self.groups} groups")
        if self.style_code not in get_args(StyleCodeKind):
            known = " or ".join(get_args(StyleCodeKind))
            raise ValueError(f"style_code is '{self.style_code}' but must be {known}")
        if self.intensity_bins and self.style_code != "tissues":
            raise ValueError("intensity_bins are placed by tissue medians: they need style_code 'tissues'")

    @property
    def multiple(self) -> int:
        """Every side of an input volume must be divisible by this."""
        return self.patch * 2 ** (len(self.channels) - 1)


@dataclass(frozen=True)
class ScheduleConfig:
    """Noise schedule that a model was trained with, see :mod:`bids_mmh.method.diffusion.schedule`.

    Attributes:
        timesteps: number of noise levels T; valid t are 0 (clean) to T.
        beta_start: β at t = 1.
        beta_end: β at t = T.
    """

    timesteps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0195

    def __post_init__(self) -> None:
        """Refuse what is no schedule (ValueError)."""
        if self.timesteps < 1:
            raise ValueError(f"timesteps is {self.timesteps} but must be at least 1")
        if not 0.0 < self.beta_start <= self.beta_end < 1.0:
            betas = f"beta_start is {self.beta_start} and beta_end {self.beta_end}"
            raise ValueError(f"{betas} but they must rise and lie between 0 and 1")


PAPER_SCHEDULE = ScheduleConfig()


@dataclass(frozen=True)
class TargetConfig:
    """What Stage II fine-tuned a model to.

    Attributes:
        site: the target site, as the study names it.
        encoder: slice encoder that saw the styles in training (not needed any more at inference).
        encoder_digest: SHA-256 of its weights.
        aggregation: how its slice embeddings became one.
    """

    site: str
    encoder: str
    encoder_digest: str
    aggregation: str


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to rebuild a model and to use it the way it was trained.

    Attributes:
        name: configuration or model name.
        sequences: BIDS suffixes the model knows; their order is the sequence index m.
        spacing: voxel size of the grid in mm; 1.0 is the product, 2.0 and 4.0 serve tests.
        shape: grid shape (H, W, D) in voxels.
        network_spacing: voxel size in mm that the network works at, where the grid is finer: it sees means of
            voxels, and its change is interpolated.
        network: architecture.
        bins: histogram bins K.
        depth: timestep that inversion climbs to and sampling starts from.
        inversion_steps: T_f.
        sampling_steps: T_r.
        threshold: gate τ of style updates.
        decay: γ of the EMA records.
        intensity_map: ``tissues`` maps every scan through the medians of its tissues before the network
            changes it; ``moments`` gives each clean estimate of sampling the mean and standard deviation of
            its domain instead; ``none`` leaves all to the network (docs/method.md).
        regional_share: how far the medians of the landmark map follow their local values, 0 (the same
            everywhere) to 1.
        strength: share of the network's change that is applied; 0 leaves the landmark map alone.
        denoise: share of a scan's noise variance that is filtered out first; 0 keeps all noise.
        domain: what the records are of: ``unified``, or the name of a site.
        gradient_condition: whether the network sees the gradient map G; false is the ablation w/o G.
        ema_guidance: whether the style records guide the network; false is the ablation w/o E.
        schedule: noise schedule; folders of before it was saved have the default one.
        target: the target site of a Stage II model; None for Stage I, whose domain is the unified one.
    """

    name: str
    network: NetworkConfig
    sequences: tuple[str, ...] = ("T1w", "T2w")
    spacing: float = 1.0
    shape: tuple[int, int, int] = (144, 184, 184)
    network_spacing: float = 1.0
    bins: int = 100
    depth: int = 100
    inversion_steps: int = 35
    sampling_steps: int = 25
    threshold: int = 100
    decay: float = 0.8
    intensity_map: IntensityMap = "tissues"
    regional_share: float = 1.0
    strength: float = 1.0
    denoise: float = 1.0
    domain: str = "unified"
    gradient_condition: bool = True
    ema_guidance: bool = True
    schedule: ScheduleConfig = PAPER_SCHEDULE
    target: TargetConfig | None = None

    def __post_init__(self) -> None:
        """Refuse what does not fit together (ValueError)."""
        _limit(self, ("bins", "depth", "inversion_steps", "sampling_steps"), 1)
        if not self.sequences or not self.spacing > 0 or not all(0 < side <= _MOST for side in self.shape):
            raise ValueError(
                "sequences, spacing and shape must not be empty, and shape no larger than a head"
            )
        if self.intensity_map not in get_args(IntensityMap):
            known = " or ".join(get_args(IntensityMap))
            raise ValueError(f"intensity_map is '{self.intensity_map}' but must be {known}")
        for name in ("regional_share", "strength"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)} but lies between 0 and 1")
        if self.depth > (timesteps := self.schedule.timesteps):
            raise ValueError(f"depth is {self.depth} but the schedule has {timesteps} timesteps")
        if not 0.0 < self.network_spacing <= _LARGEST_VOXEL:
            limits = f"must be above 0 and at most {_LARGEST_VOXEL:g} mm"
            raise ValueError(f"network_spacing is {self.network_spacing} but {limits}")
        if self.denoise < 0.0:
            raise ValueError(f"denoise is {self.denoise} but cannot be negative")

    @property
    def coarsening(self) -> int:
        """Voxels of the grid along the edge of a voxel of the network."""
        return max(1, round(self.network_spacing / self.spacing))

    @property
    def needs_tissues(self) -> bool:
        """Whether styles are measured by tissue too."""
        return self.intensity_map == "tissues" or self.network.style_code == "tissues"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dictionary; the inverse of :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """Rebuild from :meth:`to_dict` (lists become tuples); unknown keys raise TypeError."""
        target = values.get("target")
        nested = {
            "network": NetworkConfig(**_tuples(values["network"])),
            "schedule": ScheduleConfig(**values.get("schedule", {})),
            "target": TargetConfig(**target) if target else None,
        }
        return cls(**{**_tuples(values), **nested})


def _limit(config: Any, names: tuple[str, ...], least: int) -> None:  # noqa: ANN401
    """Refuse whole numbers that no network has: a damaged file must not fill the memory."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or not least <= value <= _MOST:
            raise ValueError(f"{name} is {value!r} but must be a whole number from {least} to {_MOST}")


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


PRESETS: dict[str, ModelConfig] = {
    "paper": ModelConfig(
        name="paper",
        network=NetworkConfig(
            channels=(32, 64, 256, 256), attention=(False, False, False, True), res_blocks=2
        ),
    ),
    "lite": ModelConfig(
        name="lite",
        network=NetworkConfig(channels=(16, 32, 64), attention=(False, False, False), res_blocks=1, patch=2),
        inversion_steps=10,
        sampling_steps=8,
    ),
    "tiny": ModelConfig(
        name="tiny",
        network=NetworkConfig(channels=(8, 16), attention=(False, True), res_blocks=1, patch=2, groups=4),
        spacing=4.0,
        shape=(36, 46, 46),
        inversion_steps=4,
        sampling_steps=3,
    ),
}
