"""CPU seconds of a session's page without start-up: all pages of a study, less the first one alone.

``python benchmarks/speed/pages.py BIDS_DIR OUT WORK`` writes the pages of a study anew that
``bids-mmh BIDS_DIR OUT participant -w WORK`` harmonized, and prints Markdown. A run writes one page after the
other in processes that have everything loaded, so this is what a page adds to it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from session import PROGRAM, measured


def main(argv: Sequence[str]) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("bids_dir", "out", "work"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args(argv)
    command = [*PROGRAM, str(options.bids_dir), str(options.out), "participant", "-w", str(options.work)]
    command += ["--nprocs", "1", "--omp-nthreads", "1", "--skip-bids-validation", "--reports-only"]
    pages = sorted(page.stem for page in options.out.glob("sub-*.html"))
    subjects = [page.split("_")[0] for page in pages]
    if len(set(subjects)) < 2:
        parser.error(f"{options.out} holds pages of {len(set(subjects))} subjects: two are needed")
    first, alone = subjects[0], subjects.count(subjects[0])
    one = measured([*command, "--participant-label", first.removeprefix("sub-")])["cpu_s"]
    all_pages = measured(command)["cpu_s"]
    print("| pages | CPU s, start-up included | CPU s a further page |\n|---|---|---|")
    print(f"| {alone} | {one:.1f} | |")
    print(f"| {len(pages)} | {all_pages:.1f} | {(all_pages - one) / (len(pages) - alone):.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
