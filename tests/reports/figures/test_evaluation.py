import numpy as np
import pytest
from matplotlib.collections import PathCollection

from bids_mmh.reports.figures.encode import encode
from bids_mmh.reports.figures.evaluation import (
    HIGHLIGHT,
    FeatureMap,
    age_figure,
    feature_maps_figure,
    fullest_slice,
    pair_figure,
    site_styles,
    violins_figure,
    visits_figure,
)


def test_violins_show_every_method_also_without_spread():
    figure = violins_figure(
        {"SSIM": {"Raw": [0.8, 0.9, np.inf], "MMH": [0.95]}, "WD": {"Raw": [0.1, 0.1], "MMH": []}},
        "MMH",
        "Raw",
    )
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["Raw", "MMH"]
    points = [len(made.get_offsets()) for made in left.collections if isinstance(made, PathCollection)]
    assert points == [2, 1]  # the infinite one has no place
    assert right.get_title() == "WD"
    assert encode(figure, "svg").startswith(b"<?xml")


def test_maps_put_the_target_first_and_in_red():
    points = np.random.default_rng(0).normal(size=(6, 2))
    sites = ["b", "a", "c", "b", "a", "c"]
    maps = {"Raw": FeatureMap(points, 2.0, 1.0), "MMH": FeatureMap(None, 1.0, 1.0)}
    figure = feature_maps_figure(maps, sites, "c", list("123456"))
    raw, done = figure.axes
    assert raw.get_title() == "Raw: between sites 2.00, within 1.00"
    assert raw.get_legend_handles_labels()[1] == ["c (target)", "a", "b"]
    assert [text.get_text() for text in raw.texts] == list("123456")
    assert done.texts[0].get_text() == "too few scans"


@pytest.mark.parametrize("count", [3, 60])
def test_sites_are_distinguishable(count):
    styles = site_styles([f"site{n}" for n in range(count)], "site0")
    assert styles["site0"] == (HIGHLIGHT, "o")
    assert len(set(styles.values())) >= min(count, 57)


def test_many_sites_have_no_legend():
    sites = [f"site{n}" for n in range(40)]
    figure = feature_maps_figure({"Raw": FeatureMap(np.ones((40, 2)), 1.0, 1.0)}, sites, None, None)
    assert figure.legends == []


def test_pair_shows_each_method_s_own_difference():
    mask = np.zeros((8, 9, 10), bool)
    mask[2:6, 2:7, 3:8] = True
    ones = np.ones(mask.shape, np.float32)
    figure = pair_figure({"Raw": 0.5 * ones, "MMH": ones}, {"Raw": ones, "MMH": ones}, ("Target", ones), mask)
    texts = [axes.get_xlabel() for axes in figure.axes]
    assert "mean abs. 0.500" in texts
    assert "mean abs. 0.000" in texts
    assert "Target" in [axes.get_title() for axes in figure.axes]


def test_fullest_slice_is_cropped_to_the_brain():
    mask = np.zeros((8, 9, 10), bool)
    mask[2:6, 3:5, 1] = True
    mask[1:6, 2:8, 7] = True
    assert fullest_slice(mask) == (7, (slice(1, 6), slice(2, 8)))


def test_visits_are_rows_of_methods_and_columns_of_sites():
    volume = np.zeros((4, 5, 6), np.float32)
    figure = visits_figure({"Raw": [volume] * 3, "MMH": [volume] * 3}, ["a", "b", "c"], 2)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["a", "b", "c"]
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["Raw", "MMH"]


def test_age_figure_carries_the_correlation_and_survives_equal_ages():
    figure = age_figure([20, 40, 60], {"Raw": [0.5, 0.4, 0.3]}, {"Raw": -1.0})
    assert figure.axes[0].get_title() == "Raw: r = -1.00"
    assert len(figure.axes[0].lines) == 1
    assert len(age_figure([20, 20], {"Raw": [0.5, 0.4]}, {}).axes[0].lines) == 0
