"""``bids-mmh-train``: train a model on preprocessed derivatives by a recipe."""

import logging
import os
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from bids_mmh.cli.command import exit_code, natural, positive
from bids_mmh.cli.parser import Parser

_EPILOG = """\
Several processes: --devices 2, or `torchrun --nproc_per_node 8 -m bids_mmh.cli.train ...`, or srun with one
task per device. Run the same command again to resume an interrupted run.
"""


def console() -> NoReturn:
    """Run the program as a command."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Train a model.

    Args:
        argv: Arguments without the program's name.

    Returns:
        The exit code.
    """
    options = build_parser().parse_args(argv)
    first = all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, format="%(levelname)s: %(message)s")
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")  # harmless

    def work() -> None:
        from bids_mmh.training.engine import Compute
        from bids_mmh.training.recipe import load_recipe
        from bids_mmh.training.run import StudyOptions, train

        train(
            load_recipe(options.recipe),
            options.derivatives,
            options.output,
            compute=Compute(
                options.device, options.devices, options.num_nodes, options.precision, options.workers
            ),
            options=StudyOptions(
                options.split,
                tuple(options.test_subjects),
                options.stage1,
                options.target_site,
                options.encoder,
                options.anatomies,
            ),
        )

    return exit_code("bids-mmh-train", work)


def build_parser() -> ArgumentParser:
    """Build the parser.

    Returns:
        The parser of the command line.
    """
    parser = Parser(prog="bids-mmh-train", description=__doc__, epilog=_EPILOG)
    add = parser.add_argument
    add("recipe", type=Path, help="TOML file: model, phases, loss weights")
    add("output", type=Path, help="model folder to write; run again to resume")
    add(
        "derivatives",
        type=Path,
        nargs="*",
        help="output folders of `bids-mmh ... participant --preproc-only`; none for a recipe that simulates",
    )
    study = parser.add_argument_group("study")
    add = study.add_argument
    add("--split", type=Path, metavar="TSV", help="columns participant_id and split: train, validation, test")
    add("--test-subjects", nargs="+", default=[], metavar="SUB", help="subjects that are never read")
    add("--anatomies", type=Path, metavar="DIR", help="anatomies for a recipe that simulates its pairs")
    stage2 = parser.add_argument_group("Stage II")
    add = stage2.add_argument
    add("--stage1", type=Path, metavar="FOLDER", help="start from this model instead of training Stage I")
    add("--target-site", metavar="NAME", help="site to fine-tune to, or auto; instead of the recipe's")
    add("--encoder", metavar="NAME", help="embedded, biomedclip, clip or a path; instead of the recipe's")
    machine = parser.add_argument_group("machine (does not affect the result)")
    add = machine.add_argument
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--devices", type=positive, metavar="N", help="processes here, one per device (default: 1)")
    add(
        "--num-nodes",
        type=positive,
        metavar="N",
        help="number of machines (default: that of the launcher, or 1)",
    )
    add("--precision", help="32-true, bf16-mixed or 16-mixed (default: by the device)")
    add("--workers", type=natural, metavar="N", help="reading processes per device (default: 4, CPU: 0)")
    return parser


if __name__ == "__main__":
    console()
