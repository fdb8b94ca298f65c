"""Checks before any work is done: whether the output and work folders can be written."""

import errno
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.errors import BidsMmhError, CannotCreateError, IoError, NoInputError, UsageError

if TYPE_CHECKING:
    from bids_mmh.settings import Settings

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


def check_folders(settings: "Settings") -> None:
    """Check the folders of a run before any work is done.

    Args:
        settings: Settings of the run.

    Raises:
        CannotCreateError: If the output folder is the dataset itself, or lies in it but not in derivatives/,
            or holds files of others, or it or the work folder cannot be written.
        IoError: If the disk is full.
        NoInputError: If ``group`` finds no results to read.
        UsageError: If Nipype cannot work in a folder of the name of the work folder.
    """
    from bids_mmh.bids.provenance import check_output_is_ours

    output_dir = settings.output_dir
    if output_dir.resolve() == settings.bids_dir.resolve():
        raise CannotCreateError(
            f"The output folder {output_dir} is the dataset itself, which is never written to: choose "
            f"another, such as {output_dir / 'derivatives' / 'bids-mmh'}."
        )
    if settings.analysis_level == "participant":
        _check_outside(output_dir.resolve(), settings.bids_dir.resolve())
        check_output_is_ours(output_dir, work_dir=settings.work_dir)
        _check_name(settings.work_dir)
    if settings.analysis_level == "group" and not output_dir.is_dir():
        raise NoInputError(f"There are no results in {output_dir}: run the participant level first.")
    check_writable(output_dir, "output folder")
    if settings.analysis_level == "participant":
        check_writable(settings.work_dir, "work folder (--work-dir)")


def _check_outside(output_dir: Path, bids_dir: Path) -> None:
    """Refuse a folder that would make the dataset invalid BIDS."""
    from bids_mmh.bids.ignore import ignored_in

    if not output_dir.is_relative_to(bids_dir) or output_dir.is_relative_to(bids_dir / "derivatives"):
        return
    if not ignored_in(bids_dir)(output_dir / "dataset_description.json"):
        raise CannotCreateError(
            f"The output folder {output_dir} lies inside the dataset, which would no longer be valid BIDS: "
            f"choose {bids_dir / 'derivatives' / output_dir.name} or a folder elsewhere."
        )


def _check_name(work_dir: Path) -> None:
    """Refuse characters that Nipype takes for patterns when it looks for its files."""
    if found := sorted(set(str(work_dir)) & set("[]*?")):
        raise UsageError(
            f"The work folder {work_dir} has {' and '.join(found)} in its path, where files cannot be found "
            "again: choose another one with --work-dir."
        )


def check_writable(folder: Path, name: str) -> None:
    """Make ``folder`` if need be and write a file in it: permission bits are not always reliable.

    Args:
        folder: The folder.
        name: Its name in error messages.

    Raises:
        CannotCreateError: If it cannot be written.
        IoError: If the disk is full.
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
    """Turn an error of the operating system into one for the user.

    Args:
        error: The error, with the file that it occurred at.

    Returns:
        A sentence with the matching exit code.

    Examples:
        >>> error = from_os_error(OSError(errno.ENOSPC, "No space left on device", "out/image.nii.gz"))
        >>> int(error.code)
        74
    """
    path = error.filename or "a file"
    if error.errno in _NO_SPACE:
        return IoError(f"The disk is full or the quota exceeded at {path}: free space and run again.")
    if error.errno in _NOT_ALLOWED:
        return CannotCreateError(f"{path} cannot be opened ({error.strerror}): change its permissions.")
    return IoError(f"Reading or writing {path} failed ({error.strerror or error}): run again.")
