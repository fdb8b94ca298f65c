"""What the smaller commands share: how they end, and the numbers that they take."""

import sys
from collections.abc import Callable

from bids_mmh.errors import BidsMmhError


def exit_code(prog: str, work: Callable[[], None]) -> int:
    """Do the work of a command; an error for the user becomes one sentence.

    Args:
        prog: Name of the command.
        work: What it does.

    Returns:
        The exit code.
    """
    try:
        work()
    except BidsMmhError as error:
        sys.stderr.write(f"{prog}: error: {error}\n")
        return int(error.code)
    return 0


def positive(text: str) -> int:
    """Read a whole number above zero.

    Args:
        text: What the user wrote.

    Returns:
        The number.

    Raises:
        ValueError: If it is none; argparse turns it into a usage error.
    """
    if (value := int(text)) < 1:
        raise ValueError(text)
    return value


def natural(text: str) -> int:
    """Read a whole number of zero or more.

    Args:
        text: What the user wrote.

    Returns:
        The number.

    Raises:
        ValueError: If it is none; argparse turns it into a usage error.
    """
    if (value := int(text)) < 0:
        raise ValueError(text)
    return value
