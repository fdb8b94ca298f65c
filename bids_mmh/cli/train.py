"""``bids-mmh-train``: train a Stage I model on preprocessed derivatives by a recipe."""

import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from bids_mmh.cli.parser import Parser
from bids_mmh.errors import BidsMmhError


def console() -> NoReturn:
    """Run the program as a command."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Train a model; returns the exit code.

    Args:
        argv: arguments without the program's name.
    """
    options = _parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    try:
        from bids_mmh.training.recipe import load_recipe
        from bids_mmh.training.run import train

        recipe = load_recipe(options.recipe)
        train(recipe, options.derivatives, options.output, device=options.device, precision=options.precision)
    except BidsMmhError as error:
        sys.stderr.write(f"bids-mmh-train: error: {error}\n")
        return int(error.code)
    return 0


def _parse(argv: Sequence[str]) -> Namespace:
    parser = Parser(prog="bids-mmh-train", description=__doc__)
    parser.add_argument("recipe", type=Path, help="TOML file: model, phases, loss weights")
    parser.add_argument("output", type=Path, help="model folder to write; run again to resume")
    parser.add_argument(
        "derivatives",
        type=Path,
        nargs="+",
        help="output folders of `bids-mmh ... participant --preproc-only`",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", help="32-true, bf16-mixed, ...; by default what suits the device")
    return parser.parse_args(argv)
