"""Exit codes and the errors that a user is meant to read.

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
    """An error for people: ``str(error)`` is one clear sentence, ``error.code`` the exit code."""

    code: ExitCode = ExitCode.DATA


class InvalidBidsError(BidsMmhError):
    """The dataset as a whole is not valid BIDS."""

    code = ExitCode.INVALID_BIDS


class NoMatchError(BidsMmhError):
    """The participant, session or file filters left nothing to do."""

    code = ExitCode.NO_MATCH


class UsageError(BidsMmhError):
    """The command line or the configuration file is wrong."""

    code = ExitCode.USAGE


class BadDataError(BidsMmhError):
    """An image or a table cannot be used as it is."""

    code = ExitCode.DATA


class NoInputError(BidsMmhError):
    """An input file or folder does not exist or holds nothing usable."""

    code = ExitCode.NO_INPUT


class CannotCreateError(BidsMmhError):
    """An output file or folder cannot be created."""

    code = ExitCode.CANNOT_CREATE


class IoError(BidsMmhError):
    """Reading or writing failed half-way (disk full, file vanished)."""

    code = ExitCode.IO


class TryAgainError(BidsMmhError):
    """Something temporary stood in the way (a lock held by another run, memory)."""

    code = ExitCode.TRY_AGAIN
