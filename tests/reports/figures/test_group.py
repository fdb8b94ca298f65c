import numpy as np

from bids_mmh.reports.figures import group as group_figures
from bids_mmh.reports.figures.scan import AFTER, BEFORE


def _bell(centre):
    x = np.linspace(-1, 1, 100)
    return np.exp(-(((x - centre) / 0.2) ** 2))


def test_histograms_have_a_panel_for_each_site():
    before = {f"S{n}": np.array([_bell(0), _bell(0.1)]) for n in range(6)}
    figure = group_figures.site_histograms_figure(before, {"S0": np.array([_bell(0)])})
    # Text is drawn as shapes; matplotlib keeps it as a comment.
    for site in before:
        assert f"<!-- {site}  (n = 2) -->".encode() in figure
    assert figure.count(f"stroke: {AFTER}".encode()) == 2  # the curve and its entry in the legend
    assert figure.count(f"stroke: {BEFORE}".encode()) == 7


def test_a_spike_does_not_flatten_the_other_sites():
    spiked = _bell(0)
    spiked[0] = 500
    assert group_figures._common_top([[_bell(0)], [spiked]]) < 2


def test_matrix_writes_its_values_where_there_is_room():
    before = np.array([[np.nan, 0.0871], [0.0871, 0.0112]])
    figure = group_figures.site_matrix_figure(["A", "B"], before, before / 10)
    assert figure.count(b"<!-- 0.087 -->") == 2
    assert figure.count(b"<!-- 0.009 -->") == 2
    many = np.full((13, 13), 0.0871)
    assert b"<!-- 0.087 -->" not in group_figures.site_matrix_figure([str(n) for n in range(13)], many, None)


def test_strips_draw_scans_of_every_site_and_stay_small():
    values = list(np.random.default_rng(0).standard_normal(4000))
    figure = group_figures.site_strips_figure({"mean": {"A": (values, values), "B": ([0.5], [])}})
    assert b"<!-- A -->" in figure
    assert b"<!-- B -->" in figure
    assert len(figure) < 300_000
