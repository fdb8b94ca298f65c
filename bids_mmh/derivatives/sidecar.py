"""The JSON sidecars of our images: the only place that knows their keys, their units and their order."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_pascal

from bids_mmh.bids.atomic import write_json
from bids_mmh.errors import BadDataError

SCHEMA_VERSION = 1
"""Raised when a key changes its meaning; a key that is added does not raise it."""


def _key(name: str) -> str:
    return "SHA256" if name == "sha256" else to_pascal(name)


def _known(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


Text = Annotated[str | None, BeforeValidator(_known)]
Statistics = Mapping[str, Any]


class _Record(BaseModel):
    """Python names are the keys in snake case; keys that this version does not know are left out."""

    model_config = ConfigDict(frozen=True, alias_generator=_key, validate_by_name=True, extra="ignore")


class IntensityScaling(_Record):
    """Linear map of stored to scaled intensities: scaled = slope × stored + intercept."""

    slope: float = Field(description="scaled units per stored unit")
    intercept: float = Field(description="scaled units; scaled intensities span about −1 to 1 in the brain")


class ImageStatistics(_Record):
    """Intensity statistics inside the brain mask, see ``evaluation.metrics.statistics.ImageStatistics``."""

    model_config = ConfigDict(alias_generator=None)

    before: Statistics | None = Field(default=None, description="of the preprocessed scan, scaled units")
    after: Statistics | None = Field(default=None, description="of the harmonized scan, scaled units")


class Encoder(_Record):
    """The slice encoder that Stage II was trained with."""

    name: Text = Field(default=None, description="name")
    sha256: Text = Field(default=None, description="SHA-256 of its weights, hexadecimal")


class Model(_Record):
    """The model that harmonized a scan."""

    name: Text = Field(default=None, description="name")
    sha256: Text = Field(default=None, description="SHA-256 of configuration and weights, hexadecimal")
    target: Text = Field(default=None, description="target site of Stage II; `unified` for a Stage I model")
    encoder: Encoder | None = Field(default=None, description="slice encoder of Stage II; null for Stage I")


class Sampling(_Record):
    """How the diffusion model was sampled."""

    depth: int = Field(description="timestep that inversion climbs to, of 1000")
    inversion_steps: int = Field(description="network evaluations on the way up")
    sampling_steps: int = Field(description="network evaluations on the way down")


class GeneratedBy(_Record):
    """The program that wrote an image."""

    name: Text = Field(default=None, description="name")
    version: Text = Field(default=None, description="version")


class Sidecar(_Record):
    """Everything that is known of one derived image or mask.

    A field that was never given is not written; one that was given as None is written as ``null``.
    """

    skull_stripped: bool | None = Field(default=None, description="whether voxels outside the brain are zero")
    type: Literal["Brain"] | None = Field(default=None, description="what a mask masks")
    resolution: Text = Field(default=None, description="what the `res-` label means; voxel size in mm")
    spatial_reference: Text = Field(
        default=None, description="BIDS URI of the image with a native one's voxels"
    )
    sources: tuple[str, ...] | None = Field(default=None, description="BIDS URIs of what it was made from")
    site: Text = Field(default=None, description="where the scan was acquired; null where that is not known")
    sequence: Text = Field(default=None, description="BIDS suffix of the scan, such as `T1w`")
    space: Text = Field(default=None, description="template space")
    brain_mask: Text = Field(default=None, description="file name of the brain mask on the same voxels")
    intensity_scaling: IntensityScaling | None = Field(
        default=None, description="scaled = `Slope` × stored + `Intercept`, scaled units per stored unit"
    )
    quality_warnings: tuple[str, ...] | None = Field(default=None, description="sentences, each a flag")
    preprocessing: Mapping[str, Any] | None = Field(
        default=None,
        description="engine of the mask, registration figures (mm, ml, degrees)",
    )
    raw_fingerprint: Text = Field(default=None, description="of the raw file, 16 hexadecimal digits")
    anchor_fingerprint: Text = Field(
        default=None,
        description="of the raw file that the session was registered by and of what derivative datasets hold "
        "of it, 16 hexadecimal digits; absent for that scan itself",
    )
    derivatives_found: Mapping[str, str] | None = Field(
        default=None,
        description="by BIDS URI: fingerprint of every file found in derivative datasets",
    )
    random_seed: int | None = Field(default=None, description="seed of the run that preprocessed the scan")
    configuration_hash: Text = Field(
        default=None,
        description="digest of the model and of options that alter results, 8 hexadecimal digits",
    )
    generated_by: GeneratedBy | None = Field(default=None, description="program and version")
    image_statistics: ImageStatistics | None = Field(
        default=None, description="`before` and `after`, inside the mask, scaled units, with the histogram"
    )
    anatomy_preservation: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="cosine of the intensity gradients before and after inside the brain, −1 to 1",
    )
    anatomical_change: float | None = Field(
        default=None,
        description="change that no local change of contrast explains, 99.99th percentile, scaled units",
    )
    clipped_fraction: float | None = Field(
        default=None, description="share of brain voxels at the lowest or highest value of the brain, 0 to 1"
    )
    model: Model | None = Field(default=None, description="`Name`, `SHA256`, `Target` and `Encoder`")
    sampling: Sampling | None = Field(default=None, description="`Depth` and numbers of steps")
    device: Text = Field(default=None, description="what the model ran on: `cpu`, `cuda:0`")
    precision: Text = Field(default=None, description="of the network: `bf16-mixed` or `32-true`")
    device_fallback: Text = Field(
        default=None, description="why the model ran on the CPU though another device was asked for"
    )
    schema_version: int = Field(default=SCHEMA_VERSION, description="version of these fields")

    @classmethod
    def read(cls, path: Path) -> "Sidecar":
        """Read a sidecar; a value that is not what it should be counts as unknown.

        Raises:
            BadDataError: it is no JSON object, or of a later version than this program knows.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BadDataError(f"no readable JSON: {error}") from error
        if not isinstance(content, dict):
            raise BadDataError("no JSON object")
        return cls.from_content(content)

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> "Sidecar":
        """Read a JSON object; see :meth:`read`.

        Raises:
            BadDataError: it is of a later version than this program knows.
        """
        try:
            found = cls.model_validate(content)
        except ValidationError as error:
            wrong = {str(one["loc"][0]) for one in error.errors()}
            found = cls.model_validate({key: value for key, value in content.items() if key not in wrong})
        if found.schema_version > SCHEMA_VERSION:
            raise BadDataError(f"written by a later version of this program ({_key('schema_version')})")
        return found

    def lacking(self, *names: str) -> str | None:
        """Key of the first of some fields that is not there; an unknown site is null, and there.

        Args:
            *names: fields by their Python names.
        """
        for name in names:
            is_null = getattr(self, name) is None and name != "site"
            if is_null or name not in self.model_fields_set:
                return _key(name)
        return None

    def with_fields(self, **changes: Any) -> "Sidecar":  # noqa: ANN401
        """A copy with other values.

        Raises:
            pydantic.ValidationError: a value is not what it should be.
        """
        own = {name: getattr(self, name) for name in self.model_fields_set}
        return Sidecar(**own | changes)

    def content(self, output: str) -> dict[str, Any]:
        """JSON object of one kind of file: its own fields, in their order.

        Args:
            output: its key in ``derivatives.outputs``.
        """
        values = self.model_dump(by_alias=True, exclude_unset=True) | {"SchemaVersion": self.schema_version}
        keys = [_key(name) for name in FIELDS[output]]
        return {key: values[key] for key in keys if key in values}

    def write(self, path: Path, output: str) -> Path:
        """Write the sidecar of one kind of file, and return its path."""
        return write_json(path, self.content(output))


_ON_GRID = ("skull_stripped", "resolution", "sources")
_ON_OWN_VOXELS = ("skull_stripped", "spatial_reference", "sources")
_SCAN = ("site", "sequence")
_PLACE = ("space", "brain_mask")
_QUALITY = (
    *("quality_warnings", "preprocessing", "raw_fingerprint", "anchor_fingerprint"),
    "derivatives_found",
)
_MADE = ("configuration_hash", "generated_by")

KEPT = (*_SCAN, *_PLACE, *_QUALITY, "random_seed")
"""What the sidecar of a harmonized scan repeats of that of the preprocessed one."""

FIELDS: Mapping[str, tuple[str, ...]] = {
    "mni_preproc": (
        *(*_ON_GRID, *_SCAN, *_PLACE, "intensity_scaling", *_QUALITY, *_MADE),
        *("random_seed", "image_statistics", "clipped_fraction", "schema_version"),
    ),
    "native_preproc": (*_ON_OWN_VOXELS, *_SCAN, *_MADE, "clipped_fraction", "schema_version"),
    "mni_harmonized": (
        *(*_ON_GRID, *KEPT, *_MADE, "intensity_scaling", "image_statistics", "anatomy_preservation"),
        *(
            "anatomical_change",
            "clipped_fraction",
            "model",
            "sampling",
            "device",
            "precision",
            "device_fallback",
            "schema_version",
        ),
    ),
    "mni_change": (*_ON_GRID, *_SCAN, "anatomical_change", *_MADE, "schema_version"),
    "native_harmonized": (
        *(*_ON_OWN_VOXELS, *_SCAN, *_MADE),
        *("model", "intensity_scaling", "clipped_fraction", "schema_version"),
    ),
    "mni_mask": ("type", "sources", "resolution", "schema_version"),
    "native_mask": ("type", "sources", "schema_version"),
}
"""Which fields the sidecar of each output has, by its key in ``derivatives.outputs``, in their order."""
