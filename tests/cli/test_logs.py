import logging
import os
from datetime import UTC, datetime

import pytest

from bids_mmh.app.settings import Settings
from bids_mmh.cli import logs


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
