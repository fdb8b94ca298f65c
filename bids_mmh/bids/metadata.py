"""Metadata of raw images, read from their sidecars with BIDS inheritance.

Read here and not by pybids: indexing all metadata doubles the time that a big dataset takes, for the few
fields that are needed.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bids_mmh.errors import BadDataError


def metadata_reader(bids_dir: Path) -> Callable[[Path], Mapping[str, Any]]:
    """Give the function that reads the metadata of an image of the dataset.

    Args:
        bids_dir: Root of the dataset.

    Returns:
        Function from the path of an image to its fields. Sidecars nearer to the image win over those further
        up, and within a folder those with more entities. It keeps what it read, and raises
        :class:`~bids_mmh.errors.BadDataError` at a sidecar that is not JSON.
    """
    load = cache(_load)

    @cache
    def sidecars(folder: Path) -> list[tuple[frozenset[str], str, Path]]:
        paths = sorted(folder.glob("*.json"), key=lambda path: path.name.count("_"))
        return [(*_parts(path), path) for path in paths]

    @cache
    def fields_of(image: Path) -> Mapping[str, Any]:
        entities, suffix = _parts(image)
        folders = [folder for folder in image.parents if folder.is_relative_to(bids_dir)]
        fields: dict[str, Any] = {}
        for folder in reversed(folders):
            for own_entities, own_suffix, path in sidecars(folder):
                if own_suffix == suffix and own_entities <= entities:
                    fields |= load(path)
        return fields

    return fields_of


def _parts(path: Path) -> tuple[frozenset[str], str]:
    """Split a file name into its ``key-value`` parts and its suffix."""
    *entities, suffix = path.name.partition(".")[0].split("_")
    return frozenset(entities), suffix


def _load(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadDataError(f"{path} is not valid JSON ({error}): correct the sidecar.") from None
    except OSError as error:
        raise BadDataError(f"{path} cannot be read ({error.strerror}): fetch it or mend it.") from None
    return content if isinstance(content, dict) else {}
