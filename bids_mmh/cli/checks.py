"""Looks before the leap: whether the output and work folders can be written, found out by writing."""

import errno
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.errors import BidsMmhError, CannotCreateError, IoError, NoInputError

if TYPE_CHECKING:
    from bids_mmh.settings import Settings

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


def check_folders(settings: "Settings") -> None:
    """Check the folders of a run before any work is done.

    Raises:
        CannotCreateError: When the output folder is the dataset itself, or it or the work folder cannot be
            written.
        IoError: When the disk is full.
        NoInputError: When ``group`` finds no results to read.
    """
    output_dir = settings.output_dir
    if output_dir.resolve() == settings.bids_dir.resolve():
        raise CannotCreateError(
            f"The output folder {output_dir} is the dataset itself, which is never written to: choose "
            f"another, such as {output_dir / 'derivatives' / 'bids-mmh'}."
        )
    if settings.analysis_level == "group" and not output_dir.is_dir():
        raise NoInputError(f"There are no results in {output_dir}: run the participant level first.")
    check_writable(output_dir, "output folder")
    if settings.analysis_level == "participant":
        check_writable(settings.work_dir, "work folder (--work-dir)")


def check_writable(folder: Path, name: str) -> None:
    """Make ``folder`` if need be and write a file in it: permission bits do not tell the whole truth.

    Args:
        folder: The folder.
        name: What the message calls it.

    Raises:
        CannotCreateError: When that fails.
        IoError: When it fails because the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".bids-mmh-") as stream:
            stream.write(b"\0")
            stream.flush()
    except FileExistsError:
        raise CannotCreateError(f"The {name} {folder} is a file: choose a folder.") from None
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise from_os_error(error) from None
        raise CannotCreateError(
            f"The {name} {folder} cannot be written ({error.strerror}): choose another one."
        ) from None


def from_os_error(error: OSError) -> BidsMmhError:
    """Turn an error of the operating system into a sentence with the exit code that fits."""
    path = error.filename or "a file"
    if error.errno in _NO_SPACE:
        return IoError(f"The disk is full or the quota used up at {path}: free space and run again.")
    if error.errno in _NOT_ALLOWED:
        return CannotCreateError(f"{path} cannot be opened ({error.strerror}): mend its permissions.")
    return IoError(f"Reading or writing {path} failed ({error.strerror or error}): run again.")
