import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.images import image_like, read_nifti, save_work, to_array
from bids_mmh.preprocess.interfaces import AlignToAnchor
from bids_mmh.preprocess.steps.load import load_scan
from bids_mmh.preprocess.steps.registration import template as template_registration
from bids_mmh.preprocess.steps.registration.session import CLEAR_COHERENCE, rigid
from bids_mmh.preprocess.steps.registration.settings import FAST_REGISTRATION, RegistrationSettings
from bids_mmh.preprocess.steps.registration.template import nine_dof
from bids_mmh.preprocess.steps.resample import resample_mask, resample_scan
from bids_mmh.preprocess.transforms import from_matrix, to_matrix


@pytest.fixture(scope="module")
def standard(template):
    """The template and its mask at 2 mm."""
    return read_nifti(template.t1w)[::2, ::2, ::2], read_nifti(template.brain_mask, np.uint8)[::2, ::2, ::2]


def _error_mm(found, truth, mask):
    """Mean distance in mm between where two transforms take the mask's voxels."""
    indices = np.argwhere(to_array(mask) > 0)[::700]
    points = np.array([mask.TransformIndexToPhysicalPoint(i.tolist()) for i in indices])
    points = np.c_[points, np.ones(len(points))].T
    return np.linalg.norm(((to_matrix(found) - to_matrix(truth)) @ points)[:3], axis=0).mean()


def _rotation(x_deg, y_deg, z_deg):
    return np.array(
        SimpleITK.Euler3DTransform((0, 0, 0), *np.deg2rad((x_deg, y_deg, z_deg)).tolist()).GetMatrix()
    ).reshape(3, 3)


def _moved(image, truth):
    """The image as seen by a scan to whose points ``truth`` takes the image's."""
    return SimpleITK.Resample(
        image, image, truth.GetInverse(), SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32
    )


def test_nine_degrees_of_freedom_are_recovered(standard):
    image, mask = standard
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(14, -5, 6) @ np.diag([0.93, 1.06, 1.04])
    matrix[:3, 3] = (6, -9, 5)
    truth = from_matrix(matrix)
    found, information = nine_dof(image, mask, _moved(image, truth), RegistrationSettings())
    assert _error_mm(found, truth, mask) < 0.3
    assert information > 0.5
    scales = np.linalg.norm(to_matrix(found)[:3, :3], axis=0)
    np.testing.assert_allclose(scales, [0.93, 1.06, 1.04], atol=0.005)
    axes = to_matrix(found)[:3, :3] / scales
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)  # no skew


def test_a_receive_field_does_not_move_a_t1w_on_the_template(standard, monkeypatch):
    image, mask = standard
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(4, -2, 3) @ np.diag([0.97, 1.03, 1.02])
    truth = from_matrix(matrix)
    brain = SimpleITK.Mask(_moved(image, truth), resample_mask(mask, image, truth.GetInverse()))
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in brain.GetSize()), indexing="ij")
    shaded = image_like((to_array(brain) * np.exp(0.8 * x - 0.7 * y + 0.9 * z)).astype(np.float32), brain)
    found, _ = nine_dof(image, mask, shaded, RegistrationSettings())
    monkeypatch.setattr(template_registration, "_along_edges", lambda template, mask, brain, found: found)
    by_intensities, _ = nine_dof(image, mask, shaded, RegistrationSettings())
    assert _error_mm(found, truth, mask) < min(0.3, 0.5 * _error_mm(by_intensities, truth, mask))


def test_a_t2w_is_aligned_as_well_whose_edges_are_turned_round(standard):
    image, mask = standard
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(3, -2, 4) @ np.diag([1.02, 0.97, 1.03])
    truth = from_matrix(matrix)
    inside = SimpleITK.Mask(image, mask)
    data = to_array(inside)
    other = image_like(np.where(data > 0, 1.1 * data.max() - data, 0).astype(np.float32), image)
    found, _ = nine_dof(image, mask, _moved(other, truth), RegistrationSettings())
    assert _error_mm(found, truth, mask) < 0.3


def test_where_edges_say_nothing_intensities_decide(standard, monkeypatch):
    image, mask = standard
    monkeypatch.setattr(template_registration, "refined", lambda *_, **__: pytest.fail("edges of noise"))
    noise = np.random.default_rng(0).uniform(50, 60, to_array(image).shape)
    speckled = image_like((to_array(mask) * noise).astype(np.float32), image)
    nine_dof(image, mask, speckled, RegistrationSettings())


def test_a_brain_around_zero_is_aligned_like_any_other(standard):
    image, mask = standard
    truth = from_matrix(np.array([[1, 0, 0, 9], [0, 1, 0, -7], [0, 0, 1, 5], [0, 0, 0, 1.0]]))
    data = to_array(_moved(image, truth))
    scored = image_like(np.where(data != 0, data - np.median(data[data != 0]), 0).astype(np.float32), image)
    found, _ = nine_dof(image, mask, scored, FAST_REGISTRATION)
    assert _error_mm(found, truth, mask) < 1.0


def test_rigid_aligns_another_contrast_and_repeats_exactly(standard):
    image, mask = standard
    data = to_array(image)
    other = image_like(np.where(data > 0, 300 - data, 0).astype(np.float32), image)
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(3, -4, 5)
    matrix[:3, 3] = (4, 3, -6)
    truth = from_matrix(matrix)
    results = [rigid(image, _moved(other, truth), mask, FAST_REGISTRATION) for _ in range(2)]
    assert _error_mm(results[0][0], truth, mask) < 0.6
    assert results[0][0].GetParameters() == results[1][0].GetParameters()


def test_a_receive_field_does_not_move_a_scan(standard):
    """Mutual information of a shaded pair is highest some millimetres off: the reason for edges."""
    image, mask = standard
    data = to_array(image)
    x, y, z = (
        np.linspace(-1, 1, n).reshape(s)
        for n, s in zip(data.shape, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True)
    )
    other = image_like(np.where(data > 0, 300 - data, 0).astype(np.float32), image)
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(1, 0.5, -1)
    matrix[:3, 3] = (1, 1, -1)
    truth = from_matrix(matrix)
    shaded = image_like((to_array(_moved(other, truth)) * np.exp(0.9 * x - y + z)).astype(np.float32), image)
    itself = image_like((data * np.exp(y - 0.6 * z)).astype(np.float32), image)
    found, coherence = rigid(itself, shaded, mask, RegistrationSettings())
    assert _error_mm(found, truth, mask) < 0.15
    assert coherence > CLEAR_COHERENCE


def test_scans_of_two_subjects_do_not_agree(standard):
    """Mirrored from front to back, a brain is nobody's."""
    image, mask = standard
    other = image_like(to_array(image)[:, ::-1].copy(), image)
    assert rigid(image, other, mask, FAST_REGISTRATION)[1] < CLEAR_COHERENCE


def test_rigid_finds_a_scan_whose_position_was_lost(standard):
    image, mask = standard
    matrix = np.eye(4)
    matrix[:3, 3] = (150, -90, 60)
    truth = from_matrix(matrix)
    shifted = SimpleITK.Image(image)
    shifted.SetOrigin((np.array(image.GetOrigin()) + matrix[:3, 3]).tolist())
    found, _ = rigid(image, shifted, mask, FAST_REGISTRATION)
    assert _error_mm(found, truth, mask) < 0.6


def test_the_brains_of_both_scans_are_a_start_where_nothing_else_is(standard):
    image, mask = standard
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(25, 0, 10)
    matrix[:3, 3] = (20, -30, 70)
    truth = from_matrix(matrix)
    moved = _moved(image, truth)
    # Something bright beside the brain: the centre of mass of the scan is none of the brain's.
    data = to_array(moved).copy()
    data[:, :8] += 4 * data.max()
    moved = image_like(data, moved)
    brain = SimpleITK.Cast(_moved(mask, truth) > 0.5, SimpleITK.sitkUInt8)
    found, _ = rigid(image, moved, mask, FAST_REGISTRATION, moving_mask=brain)
    assert _error_mm(found, truth, mask) < 2


def test_a_false_optimum_is_left_by_way_of_the_scans_own_brain(standard, tmp_path, monkeypatch):
    image, mask = standard
    nothing, good = (from_matrix(np.eye(4)), 0.5 * CLEAR_COHERENCE), (from_matrix(2 * np.eye(4)), 0.9)
    asked = []
    monkeypatch.setattr(
        "bids_mmh.preprocess.engines.builtin.network_mask", lambda *args: asked.append(args) or (mask, 1.0)
    )
    monkeypatch.setattr(
        "bids_mmh.preprocess.steps.registration.session.rigid",
        lambda *args, moving_mask=None: nothing if moving_mask is None else good,
    )
    step = AlignToAnchor(anchor_file=save_work(image, tmp_path / "anchor.nrrd"), num_threads=1)
    assert step._align(image, mask, tmp_path) == good
    assert len(asked) == 1
    nothing = (nothing[0], 1.2 * CLEAR_COHERENCE)
    assert step._align(image, mask, tmp_path) == nothing
    assert len(asked) == 1


def _stored_as(lopsided, codes, oblique_deg, path):
    """Store the lopsided brain in another orientation, its world turned with it when oblique."""
    affine = lopsided.affine.copy()
    angle = np.deg2rad(oblique_deg)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image = nib.Nifti1Image(np.asanyarray(lopsided.dataobj), turn @ affine)
    target = nib.orientations.axcodes2ornt(codes)
    nib.save(
        image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), target)), path
    )


@pytest.mark.parametrize(
    ("codes", "oblique_deg"), [("RAS", 0), ("LPS", 0), ("PSR", 0), ("LAI", 0), ("LPS", 13)]
)
def test_left_stays_left_in_every_orientation(standard, lopsided, tmp_path, codes, oblique_deg):
    _stored_as(lopsided, codes, oblique_deg, tmp_path / "scan.nii.gz")
    scan = load_scan(tmp_path / "scan.nii.gz").image
    to_mni, _ = nine_dof(*standard, scan, FAST_REGISTRATION)
    grid = model_grid(2.0)
    data = to_array(resample_scan(scan, grid.reference(), to_mni))
    ball = nib.affines.apply_affine(grid.affine, np.argwhere(data > 320))
    np.testing.assert_allclose(ball.mean(axis=0), [-40, -10, 30], atol=1.0)
    mask = to_array(resample_mask(standard[1], grid.reference(), SimpleITK.Transform())) > 0
    overlap = 2 * ((data > 20) & mask).sum() / ((data > 20).sum() + mask.sum())
    assert overlap > 0.93


def test_the_alignment_to_the_template_can_be_inverted(standard):
    image, mask = standard
    quick = RegistrationSettings(work_mm=6.0, shrink=(1,), sampling=(0.5,), iterations=5)
    found, _ = nine_dof(image, mask, SimpleITK.Mask(image, mask), quick)
    inverse = found.GetInverse()
    point = (30.0, -20.0, 10.0)
    np.testing.assert_allclose(inverse.TransformPoint(found.TransformPoint(point)), point, atol=1e-6)


def test_thin_volumes_stay_where_they_belong(standard):
    image, mask = standard
    found, _ = rigid(image, image[:, :, 40:52], mask, FAST_REGISTRATION)
    assert _error_mm(found, from_matrix(np.eye(4)), mask) < 1.5
