"""``bids-mmh-train-encoder``: train the project's own slice encoder on preprocessed derivatives."""

import logging
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from bids_mmh.cli.command import exit_code, positive
from bids_mmh.cli.parser import Parser


def console() -> NoReturn:
    """Run the program as a command."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Train a slice encoder.

    Args:
        argv: Arguments without the program's name.

    Returns:
        The exit code.
    """
    options = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")

    def work() -> None:
        from bids_mmh.training.slice_encoder.training import EncoderRecipe, train_encoder

        chosen = {name: getattr(options, name) for name in ("steps", "seed") if name in options}
        recipe = replace(EncoderRecipe(), **chosen)
        train_encoder(recipe, options.derivatives, options.output, threads=options.threads)

    return exit_code("bids-mmh-train-encoder", work)


def build_parser() -> ArgumentParser:
    """Build the parser.

    Returns:
        The parser of the command line.
    """
    parser = Parser(prog="bids-mmh-train-encoder", description=__doc__)
    parser.add_argument("output", type=Path, help="folder to write; --encoder takes it")
    parser.add_argument(
        "derivatives",
        type=Path,
        nargs="+",
        help="output folders of `bids-mmh ... participant --preproc-only`",
    )
    parser.add_argument("--steps", type=positive, default=SUPPRESS, help="optimizer steps")
    parser.add_argument("--seed", type=int, default=SUPPRESS, help="of weights, styles and slices")
    parser.add_argument("--threads", type=positive, default=1, help="CPU threads (default: 1)")
    return parser
