"""Where the weights of a slice encoder lie, and whether they are all of what the encoder needs."""

import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.method.encoder.towers import Tower

State = dict[str, Tensor]
_PREFERRED = ("model.safetensors", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_ENDINGS = (".safetensors", ".bin", ".pt", ".pth")
_WRAPPERS = ("module.", "visual.")  # of data-parallel training, and of a whole CLIP model


def find_weights(path: Path) -> Path:
    """The weights that ``path`` means: itself, or those in a folder or in a hub cache's folder of a model.

    Raises:
        NoInputError: nothing there, or several files and none with a usual name.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise NoInputError(f"The slice encoder {path} does not exist: give a file of weights or its folder.")
    folders = [path, *sorted(path.glob("snapshots/*")), *sorted(path.glob("models--*/snapshots/*"))]
    for folder in folders:
        candidates = sorted(file for file in folder.iterdir() if file.suffix in _ENDINGS)
        usual = [folder / name for name in _PREFERRED if (folder / name).is_file()]
        if usual or len(candidates) == 1:
            return (usual or candidates)[0]
    raise NoInputError(f"{path} holds no weights of a slice encoder: name the file itself.")


def read_weights(file: Path) -> State:
    """Read a state dictionary; pickled files are read as data only, never run.

    Raises:
        BadDataError: the file is damaged or holds something else.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        values = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise BadDataError(f"{file} cannot be read as weights: it is damaged or not a checkpoint.") from error
    values = values.get("state_dict", values) if isinstance(values, Mapping) else {}
    state = {str(key): value for key, value in values.items() if isinstance(value, Tensor)}
    if not state:
        raise BadDataError(f"{file} holds no weights: give a state dictionary.")
    return state


def tower_state(state: State) -> State:
    """The vision tower's part of a checkpoint, its keys without the names of what they were wrapped in."""
    for wrapper in _WRAPPERS:
        inside = {key.removeprefix(wrapper): v for key, v in state.items() if key.startswith(wrapper)}
        state = inside or state
    return state


def load_all(module: nn.Module, state: State, source: Path) -> None:
    """Load ``state`` into ``module``, all of it or nothing.

    Raises:
        BadDataError: a key is missing or unknown, or a shape differs; the sentence names the first.
    """
    expected = module.state_dict()
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadDataError(f"{source} lacks the weights '{missing[0]}'{more}: it is not the whole encoder.")
    if unknown:
        raise BadDataError(f"{source} has weights '{unknown[0]}' that its encoder does not know.")
    for key, value in expected.items():
        if state[key].shape != value.shape:
            shapes = f"{tuple(state[key].shape)} instead of {tuple(value.shape)}"
            raise BadDataError(f"{source}: '{key}' has the shape {shapes}, so it is another encoder.")
    module.load_state_dict(state)


def download(tower: Tower) -> Path:
    """The weights of a published tower: a file named in the environment, the hub's cache here, or the hub.

    The variable is ``BIDS_MMH_`` and the name, such as ``BIDS_MMH_BIOMEDCLIP``, which container images set.

    Raises:
        NoInputError: none of them has the weights.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    named = os.environ.get(f"BIDS_MMH_{tower.name.upper()}")
    if named and Path(named).is_file():
        return Path(named)
    for name in tower.files:
        cached = try_to_load_from_cache(tower.repository, name)
        if isinstance(cached, str):
            return Path(cached)
    for name in tower.files:
        try:
            return Path(hf_hub_download(tower.repository, name))
        except LocalEntryNotFoundError:  # no network: another name would only wait again
            break
        except (EntryNotFoundError, OSError):
            continue
    raise NoInputError(
        f"The weights of '{tower.name}' are not in the Hugging Face cache of this machine and could not be "
        f"fetched from https://huggingface.co/{tower.repository}: download {tower.files[0]} from there and "
        f"give its path with --encoder, or use --encoder embedded, which works offline."
    )
