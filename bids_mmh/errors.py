"""Exit codes, and the errors that are reported to the user.

Every error that a user can cause is a :class:`BidsMmhError`: one sentence that names the file, says what
is wrong and what to do, and the exit code that the BIDS-Apps execution specification asks for.
"""

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """Exit codes of the BIDS-Apps execution specification (and of ``sysexits.h``).

    Attributes:
        meaning: What the code says, for the help and the documentation.
    """

    meaning: str

    OK = 0, "everything asked for is done"
    UNEXPECTED = 1, "unexpected error: please report it with the log"
    INVALID_BIDS = 16, "the dataset is not valid BIDS (--skip-bids-validation goes on regardless)"
    UNKNOWN_LEVEL = 17, "unknown analysis level"
    NO_MATCH = 18, "participant, session or filter options match nothing"
    USAGE = 64, "wrong usage: an option, the configuration file, the recipe"
    DATA = 65, "an image or table cannot be used; the message names it, everything else is done"
    NO_INPUT = 66, "no input: a folder or file is missing or holds nothing usable"
    CANNOT_CREATE = 73, "the output cannot be created"
    IO = 74, "reading or writing failed half-way, such as a full disk"
    TRY_AGAIN = 75, "something temporary, such as a lock of another run or too little memory: run again"
    INTERRUPTED = 130, "interrupted from the keyboard or by a signal"

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make a member that is an integer and knows its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


class BidsMmhError(Exception):
    """An error for the user: ``str(error)`` is one clear sentence, ``error.code`` the exit code.

    Examples:
        >>> error = NoInputError("scan.nii.gz does not exist: check the dataset.")
        >>> str(error), int(error.code)
        ('scan.nii.gz does not exist: check the dataset.', 66)
    """

    code: ExitCode = ExitCode.DATA


class InvalidBidsError(BidsMmhError):
    """The dataset is not valid BIDS."""

    code = ExitCode.INVALID_BIDS


class NoMatchError(BidsMmhError):
    """The participant, session or file filters match nothing."""

    code = ExitCode.NO_MATCH


class UsageError(BidsMmhError):
    """The command line or the configuration file is wrong."""

    code = ExitCode.USAGE


class BadDataError(BidsMmhError):
    """An image or a table is unusable."""

    code = ExitCode.DATA


class NoInputError(BidsMmhError):
    """An input file or folder does not exist or holds nothing usable."""

    code = ExitCode.NO_INPUT


class CannotCreateError(BidsMmhError):
    """An output file or folder cannot be created."""

    code = ExitCode.CANNOT_CREATE


class IoError(BidsMmhError):
    """Reading or writing failed midway (disk full, file vanished)."""

    code = ExitCode.IO


class TryAgainError(BidsMmhError):
    """A temporary obstacle, such as a lock held by another run or exhausted memory."""

    code = ExitCode.TRY_AGAIN
