"""``bids-mmh-train-brain-mask``: train the network that finds the brain on label maps of heads."""

import logging
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from bids_mmh.cli.command import exit_code, natural, positive
from bids_mmh.cli.parser import Parser


def console() -> NoReturn:
    """Run the program as a command."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Train a brain mask network.

    Args:
        argv: Arguments without the program's name.

    Returns:
        The exit code.
    """
    options = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")

    def work() -> None:
        from bids_mmh.training.brain_mask.training import MaskRecipe, train_mask_network

        chosen = {name: getattr(options, name) for name in ("steps", "seed") if name in options}
        train_mask_network(
            replace(MaskRecipe(), **chosen),
            options.labels,
            options.output,
            threads=options.threads,
            workers=options.workers,
        )

    return exit_code("bids-mmh-train-brain-mask", work)


def build_parser() -> ArgumentParser:
    """Build the parser.

    Returns:
        The parser of the command line.
    """
    parser = Parser(prog="bids-mmh-train-brain-mask", description=__doc__)
    parser.add_argument("labels", type=Path, help="folder of label maps, *_dseg.nii.gz")
    parser.add_argument("output", type=Path, help="file of weights to write")
    parser.add_argument("--steps", type=positive, default=SUPPRESS, help="optimizer steps")
    parser.add_argument("--seed", type=int, default=SUPPRESS, help="of weights and scans")
    parser.add_argument("--threads", type=positive, default=1, help="CPU threads of the network (default: 1)")
    parser.add_argument(
        "--workers", type=natural, default=1, help="processes that simulate scans beside it (default: 1)"
    )
    return parser
