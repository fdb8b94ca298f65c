import sys

import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines import builtin
from bids_mmh.preprocess.images import image_like, to_array, to_sitk
from bids_mmh.preprocess.steps import brain, extraction
from bids_mmh.preprocess.steps.extraction import extract_brain, inherit_mask
from bids_mmh.preprocess.transforms import from_matrix

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def _ball(radius_mm, centre=(105, 105, 105)):
    x, y, z = np.indices((70, 70, 70)) * 3.0
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < radius_mm**2


def _image(inside, background=0.0, noise=0.0):
    rng = np.random.default_rng(0)
    data = np.where(inside, 500 + rng.normal(0, 50, inside.shape), background)
    return to_sitk((data + noise * rng.rayleigh(1, inside.shape)).astype(np.float32), AFFINE)


def _mask(inside):
    return to_sitk(inside.astype(np.uint8), AFFINE)


def test_volume_is_in_millilitres():
    assert brain.volume_ml(_mask(_ball(70))) == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.02)


@pytest.mark.parametrize("background", [0.0, -3.0])
def test_support_of_a_stripped_brain_is_the_brain_with_its_holes_filled(background):
    inside = _ball(70)
    hollow = inside & ~_ball(12)
    found = to_array(brain.stripped_support(_image(hollow, background))) > 0
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.99


def test_ripples_of_an_interpolation_are_background():
    inside = _ball(70)
    ripples = np.random.default_rng(1).normal(0, 0.5, inside.shape)
    image = to_sitk((np.where(inside, 500, 0) + ripples).astype(np.float32), AFFINE)
    found = to_array(brain.stripped_support(image)) > 0
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.99


def test_whole_heads_and_noisy_backgrounds_have_no_support():
    assert brain.stripped_support(_image(_ball(95))) is None  # 3.6 l on a blank background: a head
    assert brain.stripped_support(_image(_ball(70), noise=20)) is None


def _pretend(monkeypatch, result):
    def found(image, work_dir, threads=1):
        if isinstance(result, Exception):
            raise result
        return result, 1.0

    monkeypatch.setattr(builtin, "network_mask", found)
    monkeypatch.setattr(builtin, "deepbet_mask", lambda *args: found(*args)[0])


def _find(image, tmp_path):
    return extract_brain(image, image, _mask(_ball(70)), work_dir=tmp_path)


def test_stripped_scan_keeps_its_own_edge_without_far_leftovers(monkeypatch, tmp_path):
    leftover = _ball(15, (105, 105, 187))
    _pretend(monkeypatch, _mask(_ball(68)))
    found = _find(_image(_ball(70) | leftover), tmp_path)
    assert found.engine == "already stripped"
    assert "stripped" in found.notes[0]
    assert "13 ml" in found.warnings[0]
    mask = to_array(found.mask) > 0
    assert (mask & _ball(70)).sum() > 0.99 * _ball(70).sum()
    assert (mask & leftover & ~_ball(80)).sum() == 0


def test_a_scan_that_was_stripped_well_is_not_flagged(monkeypatch, tmp_path):
    _pretend(monkeypatch, _mask(_ball(68)))
    found = _find(_image(_ball(70)), tmp_path)
    assert (found.engine, found.warnings, len(found.notes)) == ("already stripped", [], 1)


def test_small_head_on_a_blank_background_is_not_taken_for_a_brain(monkeypatch, tmp_path):
    _pretend(monkeypatch, _mask(_ball(60)))
    assert _find(_image(_ball(78)), tmp_path).engine == "brain mask network"


def test_when_the_programs_fail_a_stripped_scan_still_has_a_mask(monkeypatch, tmp_path):
    _pretend(monkeypatch, BadDataError("nothing found."))
    found = _find(_image(_ball(70)), tmp_path)
    assert found.engine == "already stripped"
    assert "nothing found" in found.warnings[0]


def test_when_the_programs_fail_on_a_head_the_template_serves_and_says_so(monkeypatch, tmp_path):
    _pretend(monkeypatch, BadDataError("nothing found."))
    called = []
    monkeypatch.setattr(
        extraction, "_template_mask_on", lambda *args: called.append(args) or _mask(_ball(70))
    )
    found = _find(_image(_ball(95)), tmp_path)
    assert (found.engine, len(called)) == ("template", 1)
    assert "template's mask" in found.warnings[0]


def test_inherited_mask_follows_the_transform_and_the_stripped_edge():
    shift = np.eye(4)
    shift[0, 3] = 12.0  # the anchor's points lie 12 mm further along x (LPS) in the scan
    anchor_mask = _mask(_ball(70))
    head = image_like(np.random.default_rng(0).normal(100, 5, (70, 70, 70)).astype(np.float32), anchor_mask)
    moved = to_array(inherit_mask(head, anchor_mask, from_matrix(shift)).mask) > 0
    expected = np.roll(_ball(70), -4, axis=0)  # x grows to the right in RAS, to the left in LPS
    assert 2 * (moved & expected).sum() / (moved.sum() + expected.sum()) > 0.99
    stripped = inherit_mask(_image(_ball(66)), anchor_mask, from_matrix(np.eye(4)))
    assert ((to_array(stripped.mask) > 0) == _ball(66)).mean() > 0.998


def test_a_scan_that_misses_the_brain_is_refused():
    far = np.eye(4)
    far[2, 3] = 1000.0
    with pytest.raises(BadDataError, match="nothing of the brain"):
        inherit_mask(_image(_ball(95)), _mask(_ball(70)), from_matrix(far))


def test_largest_component_is_filled():
    inside = np.zeros((9, 9, 9), bool)
    inside[1:6, 1:6, 1:6] = True
    inside[3, 3, 3] = False
    inside[8, 8, 8] = True
    assert brain.largest_component(inside).sum() == 125
    assert brain.largest_component(np.zeros((3, 3, 3), bool)).sum() == 0


@pytest.mark.parametrize("height", [1.0, 3.0])
def test_a_mask_ends_below_the_cerebellum_and_not_in_the_neck(height):
    head = np.zeros((60, 60, 40), np.uint8)
    head[5:55, 5:55, 20:] = 1
    head[25:40, 25:40, :20] = 1
    image = to_sitk(head, np.diag([1.0, 1.0, height, 1.0]))
    ends = np.flatnonzero(to_array(brain.without_cord(image)).any(axis=(0, 1)))[0]
    assert 20 - ends == int(8 / height)
    assert (to_array(brain.without_cord(image))[:, :, 20:] == head[:, :, 20:]).all()
    stem = to_sitk(head[:, :, :20], np.eye(4))
    assert (to_array(brain.without_cord(stem)) == head[:, :, :20]).all()


def test_package_does_not_import_torch():
    import subprocess

    code = "import sys, bids_mmh.preprocess.interfaces; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
