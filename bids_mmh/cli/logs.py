"""What a run says, on the terminal and in the log folder of the results."""

import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.bids.atomic import write_text

if TYPE_CHECKING:
    from bids_mmh.app.settings import Settings

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def start_logs(settings: "Settings") -> Path:
    """Start logging, and keep a copy of the settings beside the log.

    On the terminal: the messages of bids-mmh and warnings of the libraries; with ``-v`` also messages of the
    libraries, with ``-vv`` everything. The log file holds what the terminal shows, and the tracebacks.

    Returns:
        ``output_dir/logs/<time>_<process>.log``; the settings lie beside it as ``.toml``.

    Raises:
        OSError: When the log folder cannot be written.
    """
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{os.getpid()}"
    log_file = settings.output_dir / "logs" / f"{name}.log"
    write_text(log_file.with_suffix(".toml"), settings.to_toml())
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    # Tracebacks are for the file: the terminal gets one sentence, unless --debug asks for more.
    terminal.addFilter(lambda record: record.exc_info is None)
    file = logging.FileHandler(log_file, encoding="utf-8")
    file.setFormatter(logging.Formatter(_FORMAT))
    everything, libraries = settings.verbose > 1, settings.verbose == 1
    root_level = logging.DEBUG if everything else logging.INFO if libraries else logging.WARNING
    logging.basicConfig(level=root_level, handlers=[terminal, file], force=True)
    logging.getLogger("bids_mmh").setLevel(min(root_level, logging.INFO))
    return log_file
