import contextlib
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bids_mmh.cli import logs
from bids_mmh.cli.main import main
from bids_mmh.runtime.log_file import log_file_handler
from bids_mmh.settings import Settings


@pytest.fixture(autouse=True)
def loggers_as_before():
    root, names = logging.getLogger(), ("nipype", "bids_mmh")
    before = root.level, list(root.handlers)
    others = {name: (logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in names}
    yield
    for name, (level, handlers) in {"": before, **others}.items():
        logger = logging.getLogger(name or None)
        logger.setLevel(level)
        logger.handlers[:] = handlers
    logging.captureWarnings(False)


def test_runs_of_one_second_and_one_process_id_keep_their_logs_apart(tmp_path, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    monkeypatch.setattr(logs, "datetime", Clock)
    settings = Settings(bids_dir=tmp_path, output_dir=tmp_path / "out", analysis_level="group")
    files = [logs.start_logs(settings) for _ in range(3)]
    stem = f"20260102T030405Z_{os.getpid()}"
    assert [file.stem for file in files] == [stem, f"{stem}-2", f"{stem}-3"]
    assert all(file.with_suffix(".toml").is_file() for file in files)


def test_a_log_on_a_full_disk_says_nothing_of_itself(tmp_path, capsys):
    handler = log_file_handler(tmp_path / "now.log")
    logger = logging.getLogger("bids_mmh.full")
    logger.propagate = False
    logger.addHandler(handler)
    handler.stream.close()
    handler.stream = Path("/dev/full").open("w")  # noqa: SIM115 (the handler closes it)
    try:
        logger.error("Something of %d words.", 4)
        assert capsys.readouterr().err == ""
        logger.error("Something of %d words.", "no")
        assert "TypeError" in capsys.readouterr().err  # a message that is wrong is no matter of the disk
    finally:
        logger.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()


def test_a_run_in_an_image_says_what_the_image_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("BIDS_MMH_DOCKER_TAG", "bids-mmh:9")
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    (tmp_path / "out").mkdir()
    assert main([str(tmp_path), str(tmp_path / "out"), "group"]) == 66
    (log,) = (tmp_path / "out" / "logs").glob("*.log")
    assert "Image bids-mmh:9 lacks the template" in log.read_text()
