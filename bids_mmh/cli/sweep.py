"""``bids-mmh-sweep``: find the depth and the numbers of steps with which a Stage I model harmonizes best."""

import logging
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from bids_mmh.cli.command import exit_code, positive
from bids_mmh.cli.parser import Parser

_EPILOG = """\
Evaluates every combination of depth, T_f and T_r whose steps fit into the depth. The best one has the lowest
inter-site WD among those whose SSIM is within 0.005 of the highest.
"""


def console() -> NoReturn:
    """Run the program as a command."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run a sweep and print its table.

    Args:
        argv: Arguments without the program's name.

    Returns:
        The exit code.
    """
    options = vars(build_parser().parse_args(argv))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")

    def work() -> None:
        from bids_mmh.group.sweep import SweepOptions, run_sweep

        model, derivatives, prefix = (options.pop(name) for name in ("model", "derivatives", "out"))
        sys.stdout.write(run_sweep(model, derivatives, prefix, SweepOptions(**options)) + "\n")

    return exit_code("bids-mmh-sweep", work)


def build_parser() -> ArgumentParser:
    """Build the parser.

    Returns:
        The parser of the command line.
    """
    parser = Parser(prog="bids-mmh-sweep", description=__doc__, epilog=_EPILOG)
    add = parser.add_argument
    add("model", help="embedded, or a model folder; of a Stage II model its Stage I is used")
    add("derivatives", type=Path, nargs="+", help="output folders of `bids-mmh ... participant`")
    add("--out", type=Path, required=True, metavar="PREFIX", help="writes PREFIX.tsv and PREFIX.png")
    add("--apply", type=Path, metavar="FOLDER", help="write a copy of the model with the best setting")
    tried = parser.add_argument_group("combinations")
    add = tried.add_argument
    steps = [5, 15, 25, 35, 45]
    add("--depths", type=_timestep, nargs="+", default=[10, 30, 60, 100], metavar="T", help="timesteps")
    add("--inversion-steps", type=positive, nargs="+", default=steps, metavar="N", help="T_f")
    add("--sampling-steps", type=positive, nargs="+", default=steps, metavar="N", help="T_r")
    scans = parser.add_argument_group("scans")
    add = scans.add_argument
    add(
        "--subjects",
        nargs="+",
        default=[],
        metavar="SUB",
        help="instead of the training and validation subjects of the model's training/split.tsv",
    )
    add("--max-scans", type=positive, metavar="N", help="most scans of each sequence (default: all)")
    add("--spacing", type=_millimetres, default=2.0, metavar="MM", help="voxel size (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    return parser


def _timestep(text: str) -> int:
    if not 1 <= (value := int(text)) <= 1000:
        raise ValueError
    return value


def _millimetres(text: str) -> float:
    if not (value := float(text)) > 0:
        raise ValueError
    return value


if __name__ == "__main__":
    console()
