import re

from bids_mmh.reports.figures.timeline import Step, lanes, timeline


def test_steps_at_the_same_time_have_lanes_of_their_own_and_machines_too():
    steps = [
        Step("a", "load_t1w1", "one", 0, 2),
        Step("b", "load_t1w1", "one", 1, 3),
        Step("a", "bias_t1w1", "one", 2, 4),
        Step("c", "load_t1w1", "two", 5, 6),
    ]
    first, second, third, fourth = lanes(steps)
    assert first == third != second
    assert fourth not in {first, second}


def test_the_picture_shows_steps_finished_sessions_and_memory_where_it_is_known():
    steps = [Step("a", "load_t1w1", "", 0, 2, memory_gb=1.0), Step("a", "page", "", 2, 3, failed=True)]
    text = timeline(steps).decode()
    assert "<svg" in text
    without = timeline([Step("a", "load_t1w1", "", 0, 2)]).decode()
    assert len(re.findall('id="axes_', text)) == len(re.findall('id="axes_', without)) + 1


def test_nothing_to_draw_is_no_error():
    assert b"<svg" in timeline([])


def test_bars_of_a_large_run_are_pixels():
    steps = [Step(f"s{n}", "load_t1w1", "", n, n + 1) for n in range(2500)]
    assert len(timeline(steps)) < 500_000
