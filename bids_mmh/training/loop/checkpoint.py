"""The state of a run on disk: written all or nothing, read without running any code in it."""

import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from bids_mmh.errors import BadDataError
from bids_mmh.files import atomic_path

logger = logging.getLogger("bids_mmh.training")


def save_checkpoint(path: Path, state: dict[str, Any], fingerprint: str) -> None:
    """Write ``state`` (tensors and plain values) of the run that ``fingerprint`` names."""
    with atomic_path(path) as partial:
        torch.save({**state, "fingerprint": fingerprint}, partial)


def load_checkpoint(path: Path, fingerprint: str, device: torch.device) -> dict[str, Any] | None:
    """Read the state of a run, or None where there is none or it is another run's (a warning says so).

    Raises:
        BadDataError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise BadDataError(f"{path} is damaged or no checkpoint: delete it to start anew.") from error
    if state.get("fingerprint") != fingerprint:
        logger.warning("%s was made by another recipe or on other scans: training starts anew.", path)
        return None
    return state
