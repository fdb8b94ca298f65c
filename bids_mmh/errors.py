"""Exit codes, and the errors that are reported to the user.

Every error that a user can cause is a :class:`BidsMmhError`: one sentence that names the file, says what
is wrong and what to do, and the exit code that the BIDS-Apps execution specification asks for.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the BIDS-Apps execution specification (and of ``sysexits.h``)."""

    OK = 0
    INVALID_BIDS = 16
    UNKNOWN_LEVEL = 17
    NO_MATCH = 18
    USAGE = 64
    DATA = 65
    NO_INPUT = 66
    CANNOT_CREATE = 73
    IO = 74
    TRY_AGAIN = 75


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
