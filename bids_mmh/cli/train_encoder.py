"""``bids-mmh-train-encoder``: train the project's own slice encoder on preprocessed derivatives."""

import logging
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from bids_mmh.cli.parser import Parser
from bids_mmh.errors import BidsMmhError


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
    try:
        from bids_mmh.training.slice_encoder.training import EncoderRecipe, train_encoder

        chosen = {name: getattr(options, name) for name in ("steps", "seed") if name in options}
        recipe = replace(EncoderRecipe(), **chosen)
        train_encoder(recipe, options.derivatives, options.output, threads=options.threads)
    except BidsMmhError as error:
        sys.stderr.write(f"bids-mmh-train-encoder: error: {error}\n")
        return int(error.code)
    return 0


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
    parser.add_argument("--steps", type=_positive, default=SUPPRESS, help="optimizer steps")
    parser.add_argument("--seed", type=int, default=SUPPRESS, help="of weights, styles and slices")
    parser.add_argument("--threads", type=_positive, default=1, help="CPU threads (default: 1)")
    return parser


def _positive(text: str) -> int:
    """A whole number above zero; argparse turns the ValueError into a usage error."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value
