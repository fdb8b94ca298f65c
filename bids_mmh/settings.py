"""Everything that a run was asked to do, in one typed, frozen record."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bids_mmh.files import fingerprint

EMBEDDED_MODEL = "embedded"
MODELS_FOLDER = "models"  # in the output folder: the models that were fitted to the study
AUTO, NO_TARGET = "auto", "none"  # values of target_site beside the names of sites

# The options that change preprocessed scans, not where they go, how fast, or which scans are taken.
_ALTERS_PREPROCESSING = ("no_preproc", "skull_strip", "preproc_engine", "template", "sloppy")
# What decides beside them what harmonized scans and the study's figures are,
_ALTERS_RESULTS = ("sequences", "outside", "random_seed")
# and which files there are, and where they come from.
_ALTERS_FILES = (
    *("bids_dir", "site_from", "all_runs", "model", "preproc_only", "output_spaces", "synthstrip_weights"),
    "derivatives",
)


def _label_without(prefix: str) -> BeforeValidator:
    def clean(value: Any) -> tuple[str, ...]:  # noqa: ANN401
        labels = tuple(str(label).removeprefix(prefix) for label in _as_list(value))
        wrong = [label for label in labels if not label.replace("+", "").isalnum()]
        if wrong:
            raise ValueError(f"'{wrong[0]}' is not a BIDS label: letters and digits only")
        return tuple(dict.fromkeys(labels))

    return BeforeValidator(clean)


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401
    return list(value) if isinstance(value, list | tuple) else [value]


def _memory(value: Any) -> Any:  # noqa: ANN401
    """Turn ``8g``, ``8.5G``, ``8000M``, ``8GiB`` or a bare number of GB into GB (of 10^9 bytes)."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", str(value), re.IGNORECASE)
    if not match:
        raise ValueError(
            f"'{value}' is not an amount of memory: use 8g, 8.5G, 8000M or 8GiB (8 alone is 8 GB)"
        )
    number, prefix, binary = match.groups()
    power = "kmgt".index(prefix.lower() or "g") + 1
    return float(number) * (1024 if binary else 1000) ** power / 1e9


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ValueError(f"'{value}' is not a device: use auto, cpu, cuda or cuda:N")
    return value


def _path_of(variable: str) -> Path | None:
    """The path in an environment variable; None where it is not set."""
    value = os.environ.get(variable)
    return Path(value) if value else None


def _derivatives(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Check ``NAME=PATH`` and make every path absolute."""
    found: dict[str, str] = {}
    for entry in _as_list(value):
        name, equals, path = str(entry).partition("=")
        if not (equals and path and re.fullmatch(r"[A-Za-z0-9]+", name)):
            raise ValueError(f"'{entry}' is not NAME=PATH, such as fmriprep=/data/derivatives/fmriprep")
        if name == "raw" or name in found:
            raise ValueError(f"'{name}' is taken: give every derivative dataset a name of its own")
        found[name] = f"{name}={_absolute(Path(path))}"
    return tuple(found.values())


def _fit_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", value) or value == EMBEDDED_MODEL:
        raise ValueError(f"'{value}' cannot name a model: use letters, digits, dots, dashes and underscores")
    return value


def model_location(value: str) -> str:
    """Make a folder absolute; a name without a separator that is no model folder stays a name."""
    path = Path(value)
    is_folder = value != EMBEDDED_MODEL and (len(path.parts) > 1 or (path / "config.json").is_file())
    return str(_absolute(path)) if is_folder else value


def _absolute(path: Path) -> Path:
    """Make a path absolute without following links, which datalad and cluster users keep on purpose.

    Raises:
        ValueError: its bytes are no UTF-8, in which logs and sidecars name files.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        raise ValueError(f"{str(path)!a} is not UTF-8: rename it")
    return Path(os.path.normpath(path.expanduser().absolute()))


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Several = BeforeValidator(lambda value: tuple(dict.fromkeys(_as_list(value))))


class Settings(BaseModel):
    """Options of one run; field names are the long options with underscores.

    Paths are absolute, several values are tuples, labels come without ``sub-`` and ``ses-``. ``mem`` is in GB
    (10^9 bytes), None when the machine's own memory is the limit. ``model`` is a name, or the absolute path
    of a folder; None for the embedded one, and at the group level for no harmonizing.

    Raises:
        pydantic.ValidationError: When a value is out of range or an option does not exist.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    bids_dir: AbsolutePath
    output_dir: AbsolutePath
    analysis_level: Literal["participant", "group"]

    participant_label: Annotated[tuple[str, ...], _label_without("sub-")] = ()
    session_label: Annotated[tuple[str, ...], _label_without("ses-")] = ()
    bids_filter_file: AbsolutePath | None = None
    skip_bids_validation: bool = False
    bids_database_dir: AbsolutePath | None = None
    all_runs: bool = False
    sequences: Annotated[tuple[str, ...], Several, Field(min_length=1)] = ("T1w", "T2w")
    site_from: str = "auto"

    model: Annotated[str, AfterValidator(model_location)] | None = None
    preproc_only: bool = False
    output_spaces: Annotated[tuple[Literal["MNI", "native"], ...], Several, Field(min_length=1)] = (
        "MNI",
        "native",
    )
    template: str = "MNI152NLin2009cAsym"
    outside: Literal["keep", "zero"] = "zero"
    skull_strip: Literal["auto", "force", "skip"] = "auto"
    preproc_engine: Literal["builtin", "deepbet", "network", "synthstrip", "freesurfer"] = "builtin"
    synthstrip_weights: AbsolutePath | None = Field(default_factory=lambda: _path_of("BIDS_MMH_SYNTHSTRIP"))
    derivatives: Annotated[tuple[str, ...], BeforeValidator(_derivatives)] = ()
    no_preproc: bool = False
    random_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    sloppy: bool = False

    device: Annotated[str, AfterValidator(_device)] = "auto"
    nprocs: Annotated[int, Field(ge=1)] = Field(default_factory=lambda: len(os.sched_getaffinity(0)))
    omp_nthreads: Annotated[int, Field(ge=1)] = Field(default_factory=lambda given: min(given["nprocs"], 8))
    mem: Annotated[float, BeforeValidator(_memory), Field(gt=0)] | None = None
    nipype_plugin_file: AbsolutePath | None = None
    work_dir: AbsolutePath = Path("work")
    clean_workdir: bool = False
    stop_on_first_crash: bool = False

    fit: Literal["all", "stage1", "stage2"] | None = None
    fit_name: Annotated[str, AfterValidator(_fit_name)] = "study"
    recipe: AbsolutePath | None = None
    split: AbsolutePath | None = None
    target_site: Annotated[str, Field(min_length=1)] = AUTO
    min_site_scans: Annotated[int, Field(ge=2)] = 3
    no_evaluation: bool = False
    evaluation_scans: Annotated[int, Field(ge=0)] | None = None

    reports_only: bool = False
    boilerplate_only: bool = False
    write_graph: bool = False
    profile: bool = False
    verbose: Annotated[int, Field(ge=0)] = 0
    debug: bool = False

    @model_validator(mode="after")
    def _check_work_dir(self) -> Self:
        derivatives = self.bids_dir / "derivatives"
        inside = self.work_dir.is_relative_to(self.bids_dir)
        if inside and not self.work_dir.is_relative_to(derivatives):
            raise ValueError(f"{self.work_dir} lies inside the dataset: choose another folder")
        return self

    @property
    def derivative_folders(self) -> dict[str, Path]:
        """Root folders of the derivative datasets by name, in the order that they were given in."""
        return {name: Path(path) for name, _, path in (entry.partition("=") for entry in self.derivatives)}

    @cached_property
    def weights_fingerprint(self) -> str | None:
        """Fingerprint of SynthStrip's weights; None without a file. Read once, for every scan asks."""
        return fingerprint(self.synthstrip_weights) if self.synthstrip_weights else None

    def preprocessing_hash(self) -> str:
        """Digest the options that alter preprocessed scans, so that different ones can be distinguished.

        What files a scan was made from (its own, its session's anchor, those of derivative datasets) is in
        its sidecar, each with its fingerprint, and not in the digest.

        Returns:
            Eight hexadecimal digits. Paths, processes, verbosity, model, seed, the choice of scans and what
            is done to harmonized scans do not change them.
        """
        options = self.model_dump(mode="json", include=set(_ALTERS_PREPROCESSING))
        if self.preproc_engine == "synthstrip" and self.synthstrip_weights:
            options["synthstrip"] = self.weights_fingerprint
        return _digest(json.dumps(options, sort_keys=True))

    def result_options(self) -> dict[str, Any]:
        """The options that results depend on, for pages: not where, how fast and by how many processes."""
        included = {*_ALTERS_PREPROCESSING, *_ALTERS_RESULTS, *_ALTERS_FILES}
        return self.model_dump(mode="json", exclude_none=True, include=included)

    def to_toml(self) -> str:
        """Write all settings as TOML that ``--config-file`` reads back; what is None is left out."""
        values: Mapping[str, Any] = self.model_dump(mode="json", exclude_none=True)
        # A JSON string, number, boolean or array of them is the same in TOML.
        return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


def configuration_hash(preprocessing: str, model_sha256: str | None, outside: str | None = None) -> str:
    """Digest everything that alters a result: its preprocessing, and the model if there was one.

    Args:
        preprocessing: Of :meth:`Settings.preprocessing_hash`.
        model_sha256: Digest of the model; None for a scan that is only preprocessed.
        outside: ``keep`` or ``zero`` for a harmonized scan on its own voxels; None for any other.

    Returns:
        Eight hexadecimal digits, the same at whichever level a scan was harmonized.
    """
    if model_sha256 is None:
        return preprocessing
    return _digest(" ".join(part for part in (preprocessing, model_sha256, outside) if part))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
