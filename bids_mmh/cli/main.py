"""The program: parse the command line, check the inputs, run one analysis level, return the exit code."""

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from bids_mmh.cli.parser import parse_arguments
from bids_mmh.errors import BidsMmhError, ExitCode, TryAgainError

if TYPE_CHECKING:
    from bids_mmh.settings import Settings

LOGGER = logging.getLogger(__name__)


def console() -> NoReturn:
    """Run the program as a command."""
    from bids_mmh.cli.signals import ending_on_sigterm

    if sys.getfilesystemencoding().lower() != "utf-8":
        # A locale of another encoding: names with accents would be written wrongly, or not at all.
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONUTF8": "1"})
    with ending_on_sigterm():
        code = main(sys.argv[1:])
        if code == ExitCode.INTERRUPTED:
            # An ordinary exit would wait for steps that workers are in the middle of.
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str]) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name.

    Returns:
        The exit code of the BIDS-Apps execution specification. Every error that a user can cause is one
        sentence on the standard error stream; ``--debug`` adds the traceback.

    Raises:
        SystemExit: From the parser, after ``--help``, ``--version`` and wrong usage.
    """
    arguments = parse_arguments(argv)
    debug = arguments.get("debug", False)
    log_file = None
    try:
        from bids_mmh.cli.config_file import build_settings

        settings = build_settings(arguments)
        debug = settings.debug
        log_file = _prepare(settings)
        return int(_run_level(settings, log_file))
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        if log_file is not None:
            LOGGER.error("The run ended early", exc_info=error)
        return _report(error, log_file)


def _prepare(settings: "Settings") -> Path:
    """Check the dataset and the folders, then start the log and return its file."""
    from bids_mmh.bids.validation import check_dataset
    from bids_mmh.cli.checks import check_folders
    from bids_mmh.cli.logs import start_logs
    from bids_mmh.runtime.container_image import image_contents

    if settings.analysis_level == "participant":
        check_dataset(
            settings.bids_dir,
            skip_validation=settings.skip_bids_validation,
            participant_labels=settings.participant_label,
        )
    check_folders(settings)
    log_file = start_logs(settings)
    if image := image_contents():
        LOGGER.info("%s", image.sentence())
    return log_file


def _run_level(settings: "Settings", log_file: Path) -> ExitCode:
    if settings.analysis_level == "group":
        from bids_mmh.group.run import run_group

        return run_group(settings, log_file)
    from bids_mmh.participant.run import run_participant

    return run_participant(settings, log_file)


def _report(error: BaseException, log_file: Path | None) -> int:
    """Print one sentence about the error, and return the exit code."""
    from bids_mmh.cli.checks import from_os_error

    if isinstance(error, KeyboardInterrupt):
        sys.stderr.write("bids-mmh: interrupted.\n")
        return ExitCode.INTERRUPTED
    if isinstance(error, OSError):
        error = from_os_error(error)
    elif isinstance(error, MemoryError):
        error = TryAgainError(
            "Out of memory: run again with fewer --nprocs or on a machine with more memory."
        )
    if isinstance(error, BidsMmhError):
        sys.stderr.write(f"bids-mmh: error: {error}\n")
        return int(error.code)
    where = f"; the log is {log_file}" if log_file else ""
    sys.stderr.write(
        f"bids-mmh: unexpected error ({type(error).__name__}: {error}): run again with --debug to see where "
        f"it comes from, and please report it{where}.\n"
    )
    return ExitCode.UNEXPECTED
