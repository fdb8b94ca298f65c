"""The files of a model folder, and the digest that identifies a model; needs no PyTorch."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.files import atomic_path
from bids_mmh.method.config import ModelConfig

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
STYLES_FILE = (
    "target_styles.safetensors"  # of a model that leads to a site without having been trained for it
)
STAGE1_FOLDER = "stage1"  # in the folder of a Stage II model: the model that it was fine-tuned from
TRAINING_FOLDER = "training"  # in a model's folder: what its training left, the split above all
SUMS_FILE = "SHA256SUMS"  # as sha256sum writes and checks them
_SUMMED = (WEIGHTS_FILE, STYLES_FILE)  # a configuration may be edited: another depth is another model


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


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of the weights, and of the target styles where there are some, beside them."""
    there = [name for name in _SUMMED if (folder / name).is_file()]
    text = "".join(f"{_sha256(folder / name)}  {name}\n" for name in there)
    with atomic_path(folder / SUMS_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_sums(folder: Path) -> None:
    """See that weights and target styles are those that were written; a folder without sums passes.

    Raises:
        BadDataError: a file has changed since, or is gone.
    """
    sums = folder / SUMS_FILE
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if name in _SUMMED and not ((folder / name).is_file() and _sha256(folder / name) == digest):
            raise BadDataError(
                f"{folder / name} is not the file that {SUMS_FILE} beside it was written for: copy the model "
                "folder again."
            )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise BadDataError(f"{file} is not a configuration of this version ({error}).") from error
