"""Which scans are ordinary images: magnitude, acquired, whole.

Phase, real and imaginary parts, inversion images, images with a magnetization transfer pulse, derived images
and pieces of a volume bear the same suffixes, and none of them is what a model of T1w and T2w knows.
"""

import re
from collections.abc import Mapping
from typing import Any

from bids_mmh.bids.names import ENTITIES, is_label

_DERIVED = ("space", "res", "den", "label", "desc", "seg", "hemi", "from", "to", "mode")
_MT_ON = re.compile(r"mt-?on", re.IGNORECASE)


def not_ordinary(name: str, wanted: Mapping[str, Any]) -> str | None:
    """Say why a scan is no ordinary image.

    Args:
        name: File name of the scan.
        wanted: Filter of its sequence, by pybids' names of entities (see
            :func:`bids_mmh.bids.filters.load_filters`): what is asked for by name is taken, a ``part-`` other
            than the magnitude never.

    Returns:
        A few words such as ``part-phase is no magnitude``; None for an ordinary image.
    """
    labels = dict(pair.split("-", 1) for pair in name.partition(".")[0].split("_") if "-" in pair)
    if wrong := [label for label in labels.values() if not is_label(label)]:
        return f"'{wrong[0]}' is no label of BIDS, which has letters and digits only"
    if labels.get("part", "mag") != "mag":
        return f"part-{labels['part']} is no magnitude"
    for key, label in labels.items():
        reason = _reason(key, label)
        if reason and wanted.get(ENTITIES.get(key, key)) is None:
            return f"{key}-{label} is {reason}"
    return None


def _reason(key: str, label: str) -> str | None:
    if key == "inv":
        return "one of several inversion images"
    if (key == "mt" and label != "off") or (key == "acq" and _MT_ON.search(label)):
        return "acquired with a magnetization transfer pulse"
    if key in _DERIVED:
        return "a derived image"
    if key == "chunk":
        return "a part of a volume"
    return None
