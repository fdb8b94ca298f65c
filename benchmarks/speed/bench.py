"""Everything that docs/performance.md says of one scan and one session, in one table: ``make bench``.

A session of a phantom from raw files to its page (``session.py``), start-up (``startup.py``), and the model
alone beside the published method and what others use (``reference.py``). Takes about ten minutes of one core.
"""

import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import reference
import session
import startup

HEAD = ("what", "CPU s", "peak GB", "TFLOP", "times our model")


def lines(rows: dict[str, dict[str, float]]) -> Iterator[tuple[str, ...]]:
    """Rows of the scripts that measure whole commands."""
    for name, row in rows.items():
        yield name, f"{row['cpu_s']:.1f}", f"{row['peak_gb']:.1f}", "", ""


def main() -> int:
    """Measure everything and print the table in Markdown."""
    compared, note = reference.rows()
    ours = next(row for row in compared if row.what == reference.OURS)
    table = [
        *lines(session.bench(None, 1)),
        *lines(startup.measure(500)),
        *(row.cells(ours.cost.cpu_s) for row in compared),
    ]
    machine = platform.processor() or platform.machine()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {os.cpu_count()} cores, one thread\n")
    print("\n".join("| " + " | ".join(line) + " |" for line in (HEAD, ["---"] * len(HEAD), *table)))
    print(f"\n{note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
