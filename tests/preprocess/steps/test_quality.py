import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from bids_mmh.preprocess.images import to_sitk
from bids_mmh.preprocess.steps.quality import (
    affine_parts,
    correlation,
    dice,
    quality_metrics,
    session_alignment,
    template_alignment,
)
from bids_mmh.preprocess.steps.resample import GridTemplate
from bids_mmh.preprocess.transforms import from_matrix

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def _ball(shift=0):
    x, y, z = np.indices((80, 80, 80)) * 2.0 - 79
    return ((x - shift) ** 2 + y**2 + z**2 < 70**2).astype(np.uint8)


def _texture():
    return np.random.default_rng(0).normal(100, 10, (80, 80, 80)).astype(np.float32)


def _noise():
    return np.random.default_rng(1).normal(size=(80, 80, 80)).astype(np.float32)


def _measure(image, mask=None, whole=None, field_of_view=None, sequence="T1w"):
    ball = to_sitk(_ball(), AFFINE)
    everything = np.ones((80, 80, 80), np.uint8)
    return quality_metrics(
        sequence,
        native_mask=ball,
        mni_image=to_sitk(image, AFFINE),
        mni_mask=ball if mask is None else to_sitk(mask, AFFINE),
        whole_mni_mask=ball if whole is None else to_sitk(whole, AFFINE),
        field_of_view=to_sitk(everything if field_of_view is None else field_of_view, AFFINE),
        template=GridTemplate(to_sitk(_texture(), AFFINE), ball),
    )


def test_correlation_ignores_gain_and_voxels_outside():
    outside = _texture()
    outside[_ball() == 0] = -1e4
    mask = to_sitk(_ball(), AFFINE)
    pair = to_sitk(3 * outside - 50, AFFINE), to_sitk(_texture(), AFFINE)
    assert correlation(*pair, mask) == pytest.approx(1.0)
    assert correlation(pair[0], to_sitk(np.ones_like(outside), AFFINE), mask) == 0.0


def test_dice_of_shifted_and_empty_masks():
    a, b = to_sitk(_ball(), AFFINE), to_sitk(_ball(200), AFFINE)
    assert dice(a, a) == 1.0
    assert dice(a, b) == 0.0
    assert dice(b, b) == 0.0


def test_a_good_scan_has_no_warning():
    figures = _measure(_texture())
    assert figures["warnings"] == []
    assert figures["covered_fraction"] == 1.0
    assert figures["mask_volume_ml"] == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.01)


def test_each_fault_has_its_sentence():
    unlike = _measure(_texture()[::-1])
    assert "correlates" in unlike["warnings"][0]
    assert "look at the alignment" in _measure(_texture() + 35 * _noise(), sequence="T1w")["warnings"][0]
    assert _measure(_texture()[::-1], sequence="T2w")["warnings"] == []
    half = np.ones((80, 80, 80), np.uint8)
    half[:, :, :40] = 0
    # The mask of a scan that is cut off ends where the scan ends.
    cut = _measure(_texture(), mask=_ball() * half, whole=_ball() * half, field_of_view=half)
    assert any("covers 50 %" in w for w in cut["warnings"])
    assert cut["covered_fraction"] == pytest.approx(0.5)
    assert any("Dice" in w for w in _measure(_texture(), whole=_ball(40))["warnings"])


@pytest.mark.parametrize(
    ("sequence", "sign", "words"),
    [("T1w", 1, None), ("T1w", -1, "a T2w named T1w"), ("T2w", -1, None), ("T2w", 1, "a T1w named T2w")],
)
def test_a_scan_of_the_other_contrast_is_flagged(sequence, sign, words):
    warnings = _measure(sign * _texture() + 10 * _noise(), sequence=sequence)["warnings"]
    assert [words in sentence for sentence in warnings] == ([True] if words else [])


def test_eyes_taken_for_brain_and_a_lost_lobe_are_flagged():
    x, y, z = np.indices((80, 80, 80)) * 2.0 - 79
    eye = ((x - 30) ** 2 + (y - 79) ** 2 + z**2 < 15**2).astype(np.uint8)
    for mask in (_ball() | eye, _ball() * (x < 48)):
        found = _measure(_texture(), whole=mask.astype(np.uint8))
        assert found["template_dice"] > 0.95
        assert any("beyond the template's" in sentence for sentence in found["warnings"])
    assert _measure(_texture())["mask_beyond_ml"] == 0


UNMOVED = SimpleITK.Transform()


@pytest.fixture(scope="module")
def brain(lopsided):
    """The template's brain at 2 mm, (x, y, z) and its affine."""
    return np.asanyarray(lopsided.dataobj), lopsided.affine


@pytest.fixture(scope="module")
def warped_brain(brain):
    """Another subject's anatomy: the template's, warped by a few millimetres and with its own sulci."""

    def make(seed):
        data, affine = brain
        rng = np.random.default_rng(seed)
        coarse = rng.normal(size=(3, 12, 12, 12))
        warp = np.stack([ndimage.zoom(c, np.array(data.shape) / 12, order=1) for c in coarse])
        warp *= 1.5 / warp.std()  # voxels of 2 mm
        moved = ndimage.map_coordinates(data, np.indices(data.shape) + warp, order=1)
        sulci = ndimage.gaussian_filter(rng.normal(size=data.shape), 1.5)
        return np.where(moved > 30, moved + 40 * sulci / sulci.std(), 0).astype(np.float32), affine

    return make


@pytest.fixture(scope="module")
def session(warped_brain):
    """T1w, brain mask and T2w of one subject: the T2w has another contrast and noise of its own."""
    t1w, affine = warped_brain(1)
    mask = ndimage.binary_fill_holes(t1w > 30).astype(np.uint8)
    return to_sitk(t1w, affine), to_sitk(mask, affine), to_sitk(_t2w(t1w), affine)


def _t2w(t1w):
    noise = np.random.default_rng(9).normal(0, 15, t1w.shape)
    return np.where(t1w > 0, 700 - 2 * t1w + noise, 0).astype(np.float32)


def _moved(axis):
    """A move by 15 mm along an axis."""
    return SimpleITK.TranslationTransform(3, (15 * np.eye(3)[axis]).tolist())


def _turned(axis):
    """A turn by 10 degrees about the middle of the brain."""
    turn = SimpleITK.Euler3DTransform()
    turn.SetCenter((0.0, 17.0, 6.0))
    turn.SetRotation(*(np.deg2rad(10) * np.eye(3)[axis]).tolist())
    return turn


@pytest.fixture(scope="module")
def standard(brain):
    data, affine = brain
    return to_sitk(data, affine), to_sitk((data > 0).astype(np.uint8), affine)


def test_a_scan_registered_to_the_template_has_no_warning(session, standard):
    for scan in (session[0], session[2]):
        found = template_alignment(scan, UNMOVED, *standard)
        assert found["warnings"] == []
        assert found["affine_scales"] == [1, 1, 1]


@pytest.mark.parametrize("move", [_moved(0), _moved(2), _turned(0), _turned(1)])
def test_a_move_off_the_template_is_flagged(session, standard, move):
    assert template_alignment(session[0], move, *standard)["warnings"]


def test_a_t2w_registered_to_its_t1w_has_no_warning(session):
    t1w, mask, t2w = session
    found = session_alignment(t1w, mask, UNMOVED, t2w, UNMOVED)
    assert found["warnings"] == []
    assert found["anchor_distinctness"] > 0.5


@pytest.mark.parametrize("move", [_moved(1), _turned(0), _turned(2)])
def test_a_move_off_the_t1w_is_flagged(session, move):
    t1w, mask, t2w = session
    assert "session's anchor" in session_alignment(t1w, mask, UNMOVED, t2w, move)["warnings"][0]


def test_the_t2w_of_another_subject_is_flagged_at_its_best_alignment(session, warped_brain):
    t1w, mask, _ = session
    other, affine = warped_brain(2)
    found = session_alignment(t1w, mask, UNMOVED, to_sitk(_t2w(other), affine), UNMOVED)
    assert "another subject's" in found["warnings"][0]


def test_a_t2w_whose_sides_are_swapped_is_flagged(session):
    from bids_mmh.preprocess.images import image_like, to_array

    t1w, mask, t2w = session
    # The template's grid is symmetric about x = 0 but for one voxel at 2 mm.
    mirrored = image_like(np.ascontiguousarray(to_array(t2w)[::-1]), t2w)
    swapped = SimpleITK.TranslationTransform(3, (2.0, 0.0, 0.0))
    warnings = session_alignment(t1w, mask, UNMOVED, mirrored, swapped)["warnings"]
    assert len(warnings) == 1


def test_scales_and_turn_of_an_alignment():
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]) * 1.1
    scales, turn = affine_parts(from_matrix(matrix))
    np.testing.assert_allclose(scales, 1.1)
    assert turn == pytest.approx(90)


def test_an_alignment_that_stretches_or_turns_over_is_flagged(session, standard):
    for matrix in (np.diag([1.5, 1, 1, 1]), np.diag([-1.0, 1, -1, 1])):
        warnings = template_alignment(session[0], from_matrix(matrix), *standard)["warnings"]
        assert any("unusual" in sentence for sentence in warnings)
