import json
from dataclasses import replace

import numpy as np
import pytest

from bids_mmh.evaluation.controls.methods import CONTROLS, RAW, UNFITTED, fit_controls
from bids_mmh.evaluation.scans import ScanArrays
from bids_mmh.evaluation.segmentation import BuiltInSegmenter
from bids_mmh.evaluation.subject_metrics import HARMONIZED, SubjectMetrics, measure_subject
from bids_mmh.preprocess.grid import model_grid

GRID = model_grid(8)
LEVELS = np.array([-0.8, 0.0, 0.6])


@pytest.fixture(scope="module")
def segmenter():
    return BuiltInSegmenter()


@pytest.fixture(scope="module")
def scan(template_tissues):
    mask = np.zeros(GRID.shape, bool)
    mask[3:-3, 3:-3, 8:-5] = True

    def make(subject, site, contrast):
        own = np.random.default_rng(len(subject)).normal(0, 0.1, GRID.shape)
        brain = np.clip((LEVELS[template_tissues(GRID.shape)] + own + 1) * contrast - 1, -0.99, 0.99)
        volume = np.where(mask, brain, -1).astype(np.float32)
        return ScanArrays(f"{subject}_{site}", subject, site, "T1w", volume, mask, (8.0,) * 3)

    return make


@pytest.fixture(scope="module")
def subject(scan):
    """Scanned at two sites; the model undoes the contrast of the second one."""
    at_target, elsewhere = scan("sub-1", "T", 1.0), scan("sub-1", "E", 0.5)
    return tuple(replace(scan, harmonized=at_target.preproc) for scan in (elsewhere, at_target))


@pytest.fixture(scope="module")
def fit(scan):
    return fit_controls([scan("sub-22", "T", 1.0), scan("sub-333", "T", 0.9)], "T")


def test_every_method_stands_beside_the_model(subject, fit, segmenter):
    found = measure_subject(subject, [("sub-1_E", "sub-1_T")], fit, segmenter, raw_target=True)
    assert list(found.scans["sub-1_E"]) == [*CONTROLS, HARMONIZED]
    (pair,) = found.pairs
    assert pair.methods[HARMONIZED].ssim == pytest.approx(1)
    assert pair.methods[RAW].ssim < 0.9
    assert pair.methods[RAW].wd > pair.methods["z-score"].wd > pair.methods[HARMONIZED].wd == 0
    raw, linear = found.scans["sub-1_E"][RAW], found.scans["sub-1_E"]["z-score"]
    assert raw.dice == raw.volume == dict.fromkeys(("CSF", "GM", "WM"), 1.0)
    assert linear.dice["GM"] == pytest.approx(1)
    assert sum(raw.regional_grey_matter) == pytest.approx(sum(linear.regional_grey_matter), rel=1e-3)
    assert 300 < sum(raw.regional_grey_matter) < 3000  # ml
    assert raw.spread == pytest.approx(0.5 * found.scans["sub-1_T"][RAW].spread, rel=0.05)


def test_without_a_target_both_scans_are_the_method_s_own(subject, fit, segmenter):
    blurred = [replace(scan, harmonized=scan.preproc) for scan in subject]
    found = measure_subject(blurred, [("sub-1_E", "sub-1_T")], fit, segmenter, raw_target=False)
    methods = found.pairs[0].methods
    assert methods[HARMONIZED] == methods[RAW]
    assert methods["Histogram matching"].wd < 0.01 < methods[RAW].wd


def test_without_other_subjects_fitted_controls_are_left_out(subject, segmenter):
    found = measure_subject(subject, [], None, segmenter, raw_target=True)
    assert set(found.scans["sub-1_E"]) == {*UNFITTED, HARMONIZED}


def test_figures_survive_a_file(subject, fit, segmenter):
    found = measure_subject(subject, [("sub-1_E", "sub-1_T")], fit, segmenter, raw_target=True)
    assert found.pairs[0].methods[HARMONIZED].psnr == np.inf  # equal scans, which JSON has no number for
    again = SubjectMetrics.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert json.dumps(again.to_dict()) == json.dumps(found.to_dict())
    assert again.pairs == found.pairs
