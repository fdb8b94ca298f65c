import logging

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import bids_mmh.training.loop.journal as journal_module
from bids_mmh.training.loop.journal import Journal, Progress
from bids_mmh.training.recipe import Phase

PHASES = (Phase(4.0, steps=3, accumulate=2), Phase(2.0, steps=5))
MEANS = {"total": 1.5, "noise": 1.0}


def write(folder, start, steps):
    with Journal(folder, ["noise"], PHASES, start) as journal:
        journal.begin(*start)
        for position in steps:
            journal.train(position, 1e-3, {"total": float(position[1]), "noise": 1.0})
        journal.validation(steps[-1], 1e-3, MEANS)


def test_tensorboard_counts_steps_over_phases(tmp_path):
    write(tmp_path, (0, 0), [(0, 0), (0, 1), (0, 2), (1, 0)])
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in board.Scalars("train/total")] == [(0, 0), (1, 1), (2, 2), (3, 0)]
    assert [(e.step, e.value) for e in board.Scalars("validation/noise")] == [(3, 1.0)]
    assert all(e.value > 0 for e in board.Scalars("train/volumes_per_second"))
    assert board.Scalars("train/learning_rate")[0].value == pytest.approx(1e-3)


def test_a_resumed_run_leaves_no_step_twice(tmp_path):
    write(tmp_path, (0, 0), [(0, 0), (0, 1), (0, 2)])
    write(tmp_path, (0, 1), [(0, 1), (0, 2)])
    rows = [line.split("\t")[:3] for line in (tmp_path / "losses.tsv").read_text().splitlines()[1:]]
    assert rows == [["0", "0", "train"], ["0", "1", "train"], ["0", "2", "train"], ["0", "2", "validation"]]
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.step for e in board.Scalars("train/total")] == [0, 1, 2]


def test_without_a_terminal_a_line_now_and_then(monkeypatch, caplog, capsys):
    clock = iter([0.0, 10.0, 70.0, 80.0])
    monkeypatch.setattr(journal_module.time, "monotonic", lambda: next(clock))
    progress = Progress("2 mm", done=4, total=10)
    with caplog.at_level(logging.INFO, logger="bids_mmh.training"):
        speeds = [progress.advance(0.5, volumes=3) for _ in range(3)]
    assert speeds == pytest.approx([0.3, 0.05, 0.3])
    (line,) = caplog.messages
    assert line == "2 mm: step 6 of 10, total 0.5000, 0.05 volumes/s, 0:02:20 left"
    assert capsys.readouterr().err == ""


def test_a_bar_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress("2 mm", done=0, total=2)
    progress.advance(0.5, volumes=1)
    progress.advance(0.25, volumes=1)
    progress.close()
    shown = capsys.readouterr().err
    assert "2 mm: 100%" in shown
    assert "total=0.2500" in shown
