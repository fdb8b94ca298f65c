"""``bids-mmh-phantom``: make a small multi-site BIDS dataset of simulated heads."""

import argparse
import sys
from collections.abc import Sequence

from bids_mmh.cli.parser import Parser
from bids_mmh.errors import BidsMmhError, ExitCode


def build_parser() -> argparse.ArgumentParser:
    """Build the parser.

    Returns:
        The parser of the command line.
    """
    parser = Parser(
        prog="bids-mmh-phantom",
        description="Make a multi-site T1w + T2w BIDS dataset of simulated heads, with their ground truth.",
    )
    add = parser.add_argument
    add("out", metavar="OUT", help="folder of the dataset; new or empty")
    add("--subjects", type=int, default=6, metavar="N", help="number of subjects (default: %(default)s)")
    add("--sites", type=int, default=3, metavar="K", help="number of scanners (default: %(default)s)")
    add(
        "--travelling",
        type=int,
        nargs="?",
        const=-1,
        default=0,
        metavar="M",
        help="scan the first M subjects at several sites; all of them when M is left out (default: 0)",
    )
    add(
        "--visits",
        type=int,
        default=0,
        metavar="V",
        help="sites of a travelling subject (default: all sites)",
    )
    add("--seed", type=int, default=0, metavar="S", help="random seed (default: %(default)s)")
    add("--resolution", type=float, default=1.0, metavar="MM", help="base voxel size in mm (default: 1)")
    add("--sequences", nargs="+", choices=("T1w", "T2w"), default=["T1w", "T2w"], help="default: both")
    add("--no-truth", "--no_truth", dest="truth", action="store_false", help="leave out derivatives/truth")
    add("--nprocs", type=int, default=1, metavar="N", help="number of processes (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code.
    """
    options = build_parser().parse_args(argv)
    from bids_mmh.phantom.dataset import make_phantom

    try:
        out = make_phantom(
            options.out,
            subjects=options.subjects,
            sites=options.sites,
            travelling=options.subjects if options.travelling == -1 else options.travelling,
            visits=options.visits,
            seed=options.seed,
            resolution=options.resolution,
            sequences=options.sequences,
            truth=options.truth,
            nprocs=options.nprocs,
        )
    except BidsMmhError as error:
        sys.stderr.write(f"bids-mmh-phantom: {error}\n")
        return int(error.code)
    sys.stdout.write(f"The phantom is in {out}\n")
    return int(ExitCode.OK)


def console() -> None:
    """Entry point of the console script."""
    sys.exit(main(sys.argv[1:]))
