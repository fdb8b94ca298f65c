"""``losses.tsv``: what a run leaves beside its checkpoint to be read by eye and by programs."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_mmh.files import atomic_path


class LossTable:
    """Losses of a run, a row per step and per validation, written as they come.

    Args:
        path: the table; made at the first row, continued if it is there.
        terms: names of the losses beside their ``total``, in order.
    """

    def __init__(self, path: Path, terms: Sequence[str]) -> None:
        self.path = path
        self.terms = ("total", *terms)

    def append(self, position: tuple[int, int], split: str, rate: float, means: Mapping[str, float]) -> None:
        """Add the losses of a (phase, step); ``split`` is ``train`` or ``validation``."""
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="\t")
            if new:
                writer.writerow(["phase", "step", "split", "learning_rate", *self.terms])
            writer.writerow([*position, split, f"{rate:.3g}", *(f"{means[name]:.6f}" for name in self.terms)])

    def forget_from(self, position: tuple[int, int]) -> None:
        """Drop the rows of (phase, step) and later, which an interrupted run will make again."""
        if not self.path.exists():
            return
        with self.path.open(newline="", encoding="utf-8") as stream:
            header, *rows = csv.reader(stream, delimiter="\t")
        whole = [row for row in rows if len(row) == len(header)]  # a killed run may leave half a row
        kept = [row for row in whole if (int(row[0]), int(row[1])) < position]
        with atomic_path(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, delimiter="\t").writerows([header, *kept])
