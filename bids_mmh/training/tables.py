"""The two tables that a run leaves beside its model: ``losses.tsv`` and ``split.tsv``."""

import csv
from collections.abc import Mapping
from pathlib import Path

TERMS = ("total", "noise", "gradient", "ema")
_COLUMNS = ["phase", "step", "split", "learning_rate", *TERMS]


class LossTable:
    """Losses of a run, a row per step and per validation, written as they come.

    Args:
        path: the table; made at the first row, continued if it is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, position: tuple[int, int], split: str, rate: float, means: Mapping[str, float]) -> None:
        """Add the losses of a (phase, step); ``split`` is ``train`` or ``validation``."""
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="\t")
            if new:
                writer.writerow(_COLUMNS)
            writer.writerow([*position, split, f"{rate:.3g}", *(f"{means[name]:.6f}" for name in TERMS)])

    def forget_from(self, position: tuple[int, int]) -> None:
        """Drop the rows of (phase, step) and later, which an interrupted run will make again."""
        if not self.path.exists():
            return
        with self.path.open(newline="", encoding="utf-8") as stream:
            header, *rows = csv.reader(stream, delimiter="\t")
        kept = [row for row in rows if (int(row[0]), int(row[1])) < position]
        with self.path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, delimiter="\t").writerows([header, *kept])


def write_split(path: Path, train: set[str], held_out: set[str]) -> None:
    """Write which participants were trained on and which were held out."""
    rows = [(s, "train") for s in sorted(train)] + [(s, "validation") for s in sorted(held_out)]
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter="\t").writerows([("participant_id", "split"), *rows])
