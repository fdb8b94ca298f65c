"""Logging, to the terminal and to the log folder of the results."""

import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.bids.atomic import write_text
from bids_mmh.runtime.log_file import log_file_handler, without_polling

if TYPE_CHECKING:
    from bids_mmh.settings import Settings


def start_logs(settings: "Settings") -> Path:
    """Start logging, and keep a copy of the settings beside the log.

    On the terminal: the messages of bids-mmh and warnings of the libraries; with ``-v`` also messages of the
    libraries, with ``-vv`` everything. The log file also holds tracebacks and the messages of Nipype.

    Args:
        settings: Settings of the run: output folder and verbosity.

    Returns:
        ``output_dir/logs/<time>_<process>.log``; the settings lie beside it as ``.toml``.

    Raises:
        OSError: If the log folder cannot be written.
    """
    log_file = _new_log_file(settings.output_dir / "logs")
    write_text(log_file.with_suffix(".toml"), settings.to_toml())
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    # Tracebacks go to the file: the terminal gets one sentence, unless --debug is set.
    terminal.addFilter(lambda record: record.exc_info is None)
    terminal.addFilter(without_polling)
    if not settings.verbose:
        terminal.addFilter(_without_nipype)
    # Nipype adds a handler of its own, which would repeat every message, unless it finds one.
    logging.getLogger("nipype").handlers[:] = [logging.NullHandler()]
    logging.captureWarnings(True)
    everything, libraries = settings.verbose > 1, settings.verbose == 1
    root_level = logging.DEBUG if everything else logging.INFO if libraries else logging.WARNING
    logging.basicConfig(level=root_level, handlers=[terminal, log_file_handler(log_file)], force=True)
    logging.getLogger("bids_mmh").setLevel(min(root_level, logging.INFO))
    return log_file


def _new_log_file(folder: Path) -> Path:
    """Make an empty log file with a unique name, though many runs may start in one second.

    In containers all of them may have the same process id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{os.getpid()}"
    number, path = 1, folder / f"{name}.log"
    while True:
        try:
            path.open("x").close()
            return path
        except FileExistsError:
            number += 1
            path = folder / f"{name}-{number}.log"


def _without_nipype(record: logging.LogRecord) -> bool:
    """Drop Nipype's reports about its nodes: every failure is summarised in one sentence at the end."""
    return not record.name.startswith(("nipype", "py.warnings"))
