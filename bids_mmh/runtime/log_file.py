"""The log file of a run, which its worker processes append to as well."""

import logging
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_file_handler(path: Path) -> logging.Handler:
    """Make the handler that appends to a log file.

    Lines that several processes append at once stay whole, as each is written at one go.
    """
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.addFilter(without_polling)
    return handler


def without_polling(record: logging.LogRecord) -> bool:
    """Drop what Nipype says whenever its queue changes, unless everything is wanted (``-vv``)."""
    return logging.root.level <= logging.DEBUG or not str(record.msg).startswith("[MultiProc]")
