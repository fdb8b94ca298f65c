"""The log file of a run, which its worker processes append to as well."""

import logging
import sys
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _LogFile(logging.FileHandler):
    """Loses messages where the disk is full: what fails because of that is said on the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (its name in logging)
        """Say what is wrong with a message itself; nothing of a file that cannot be written."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def log_file_handler(path: Path) -> logging.Handler:
    """Make the handler that appends to a log file.

    Lines that several processes append at once stay whole, as each is written at one go.
    """
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.addFilter(without_polling)
    return handler


def without_polling(record: logging.LogRecord) -> bool:
    """Drop what Nipype says whenever its queue changes, unless everything is wanted (``-vv``)."""
    return logging.root.level <= logging.DEBUG or not str(record.msg).startswith("[MultiProc]")
