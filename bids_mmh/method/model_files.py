"""The files of a model folder, and the digest that identifies a model; needs no PyTorch."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.method.config import ModelConfig

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
STYLES_FILE = (
    "target_styles.safetensors"  # of a model that leads to a site without having been trained for it
)
STAGE1_FOLDER = "stage1"  # in the folder of a Stage II model: the model that it was fine-tuned from
TRAINING_FOLDER = "training"  # in a model's folder: what its training left, the split above all


def embedded_folder() -> Path:
    """Folder of the model that ships with the package."""
    return Path(str(files("bids_mmh.resources"))) / "embedded"


def model_sha256(folder: Path) -> str:
    """SHA-256 of a model folder's configuration, weights and target styles; every sidecar has it.

    The configuration counts too: the same weights sampled from another depth are another model.

    Raises:
        NoInputError: a file of the model is missing.
    """
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        digest.update(existing(folder / name).read_bytes())
    if (folder / STYLES_FILE).is_file():
        digest.update((folder / STYLES_FILE).read_bytes())
    return digest.hexdigest()


def existing(file: Path) -> Path:
    """Give back a file of a model folder.

    Raises:
        NoInputError: it is missing.
    """
    if not file.is_file():
        raise NoInputError(f"{file.parent} is not a model folder: {file.name} is missing.")
    return file


def read_config(folder: Path) -> ModelConfig:
    """Read the configuration of a model folder.

    Raises:
        NoInputError: there is no ``config.json``.
        BadDataError: it is damaged or of another version.
    """
    file = existing(folder / CONFIG_FILE)
    try:
        return ModelConfig.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadDataError(f"{file} is not a configuration of this version ({error}).") from error
