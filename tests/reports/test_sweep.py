import io

import matplotlib.image
import numpy as np
from matplotlib.colors import to_rgb

from bids_mmh.reports.sweep import CHOSEN, sweep_figure, sweep_markdown
from bids_mmh.training.sweep.depth_sweep import SamplingSetting, SettingMetrics

SETTINGS = [(30, 5, 5), (30, 5, 15), (30, 15, 5), (30, 15, 15), (10, 5, 5)]


def red(picture):
    return (np.abs(picture[..., :3] - np.array(to_rgb(CHOSEN))).max(axis=-1) < 0.05).nonzero()


def test_heat_maps_frame_the_chosen_cell():
    values = {one: 0.01 * number for number, one in enumerate(SETTINGS)}
    figure = sweep_figure({"WD": values, "SSIM": values}, (30, 15, 5))
    picture = matplotlib.image.imread(io.BytesIO(figure))
    rows, columns = red(picture)
    assert rows.size > 0
    assert rows.min() < picture.shape[0] / 2 < rows.max()  # once for each quantity
    assert columns.min() > picture.shape[1] / 3  # in the panel of the greater depth
    moved = red(matplotlib.image.imread(io.BytesIO(sweep_figure({"WD": values, "SSIM": values}, (10, 5, 5)))))
    assert moved[1].max() < columns.max()


def test_the_table_starts_from_the_scans_as_they_were():
    results = [
        (SamplingSetting(10, 5, 5), SettingMetrics(0.01, 0.97, 0.99)),
        (SamplingSetting(30, 5, 5), SettingMetrics(0.005, 0.9695, 0.98)),
    ]
    lines = sweep_markdown(SettingMetrics(0.1, 0.9, 1.0), results, SamplingSetting(30, 5, 5)).splitlines()
    assert lines[2] == "| before |  |  | 0.1000 | 0.9000 | 1.0000 |"
    assert lines[3] == "| 10 | 5 | 5 | 0.0100 | 0.9700 | 0.9900 |"
    assert lines[4] == "| **30** | **5** | **5** | **0.0050** | **0.9695** | **0.9800** |"
