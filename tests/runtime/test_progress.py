import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from bids_mmh.runtime.progress import Progress, TimeLeft


@pytest.mark.parametrize("done", [True, False])
def test_only_a_session_that_is_done_is_called_finished(caplog, done):
    job = SimpleNamespace(
        node_name="sub_01",
        scans=[None],
        keys={Path("sub-01_T1w.nii.gz"): "t1w1"},
        session=SimpleNamespace(label="sub-01"),
    )
    with caplog.at_level(logging.INFO):
        Progress([job]).session_ended(job, is_done=done)
    assert ("sub-01: finished (1 of 1 sessions)" in caplog.text) == done


@pytest.mark.parametrize("processes", [1, 2, 16])
def test_the_time_left_is_right_within_a_third_from_the_tenth_session_on(processes):
    """Processes that take one session of five steps after the other, each with a step of its own length."""
    now, sessions = 0.0, 60
    time_left = TimeLeft(scans=2 * sessions, clock=lambda: now)
    start_up, lengths = 3.0, [1.0, 9.0, 3.0, 6.0, 2.0]
    waiting = list(range(sessions))
    running, estimates = {}, []
    for process in range(processes):
        running[process] = (start_up + lengths[0], waiting.pop(0), 0)
        time_left.step_began(running[process][1], 0)
    while running:
        process = min(running, key=running.get)
        now, session, step = running.pop(process)
        time_left.step_ended(session, step)
        if step + 1 < len(lengths):
            step += 1
        else:
            time_left.session_ended(session, scans=2)
            estimates.append((now, time_left.seconds()))
            if not waiting:
                continue
            session, step = waiting.pop(0), 0
        time_left.step_began(session, step)
        running[process] = (now + lengths[step] * (0.7 + 0.6 * (session % 2)), session, step)
    for then, estimate in estimates[9:-processes]:
        assert estimate == pytest.approx(now - then, rel=1 / 3)
    assert estimates[-1][1] == 0
