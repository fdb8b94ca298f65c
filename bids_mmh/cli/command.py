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
    return _at_least(1, text)


def natural(text: str) -> int:
    """Read a whole number of zero or more.

    Args:
        text: What the user wrote.

    Returns:
        The number.

    Raises:
        ValueError: If it is none; argparse turns it into a usage error.
    """
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if (value := int(text)) < least:
        raise ValueError(text)
    return value
