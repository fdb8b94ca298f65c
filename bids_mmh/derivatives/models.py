"""Which model a run uses: the embedded one by name, or a folder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_mmh.bids.session import Scan
from bids_mmh.derivatives.sidecar import Encoder, Model
from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.method.config import ModelConfig
from bids_mmh.settings import EMBEDDED_MODEL, MODELS_FOLDER

UNIFIED = "unified"


@dataclass(frozen=True)
class ModelReference:
    """A model on disk: its name, folder, configuration and the SHA-256 of its weights."""

    name: str
    folder: Path
    config: ModelConfig
    sha256: str

    @property
    def target(self) -> str:
        """The site that the model leads to, else ``unified``: the domain of all its training scans."""
        return self.config.target.site if self.config.target else self.config.domain

    @property
    def provenance(self) -> Model:
        """What sidecars say of the model."""
        target = self.config.target
        encoder = Encoder(name=target.encoder, sha256=target.encoder_digest) if target else None
        return Model(name=self.name, sha256=self.sha256, target=self.target, encoder=encoder)


def resolve_model(model: str, output_dir: Path | None = None) -> ModelReference:
    """Find a model and read its configuration; the weights are hashed but not loaded.

    Args:
        model: ``embedded``, the name of a model that was fitted to a study, or the path of a model folder.
        output_dir: output folder of that study, which holds its models; None where there is none.

    Raises:
        UsageError: no such name.
        NoInputError: the folder is not a model folder.
    """
    from bids_mmh.method.model_files import embedded_folder, model_sha256, read_config

    if model == EMBEDDED_MODEL:
        folder = embedded_folder()
    elif Path(model).is_absolute():
        folder = Path(model)
    elif model in (fitted := _fitted_models(output_dir)):
        folder = fitted[model]
    else:
        known = "', '".join([EMBEDDED_MODEL, *fitted])
        raise UsageError(f"There is no model named '{model}': use '{known}' or the path of a model folder.")
    if not folder.is_dir():
        raise NoInputError(f"The model folder {folder} does not exist: check --model.")
    config = read_config(folder)
    return ModelReference(config.name, folder, config, model_sha256(folder))


def _fitted_models(output_dir: Path | None) -> dict[str, Path]:
    """The models that were fitted to a study, by name."""
    from bids_mmh.method.model_files import WEIGHTS_FILE

    found = sorted(output_dir.glob(f"{MODELS_FOLDER}/*/{WEIGHTS_FILE}")) if output_dir else []
    return {file.parent.name: file.parent for file in found}


def check_model(model: ModelReference, scans: Sequence[Scan]) -> None:
    """Load a model once, before hours of preprocessing, and see that it knows the sequences of the scans.

    Raises:
        BadDataError: its files are damaged or do not fit together.
        UsageError: it was not trained for a sequence.
    """
    from bids_mmh.method.harmonizer import Harmonizer

    require_sequences(model, (scan.sequence for scan in scans))
    Harmonizer.from_pretrained(model.folder)


def require_sequences(model: ModelReference, sequences: Iterable[str]) -> None:
    """See that a model was trained for all of some sequences.

    Raises:
        UsageError: it was not.
    """
    unknown = sorted(set(sequences) - set(model.config.sequences))
    if unknown:
        raise UsageError(
            f"The model '{model.name}' does not know {', '.join(unknown)}: choose another --model, or "
            f"--sequences {' '.join(model.config.sequences)}."
        )
