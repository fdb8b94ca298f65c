import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from bids_mmh.errors import BadDataError, NoInputError, UsageError
from bids_mmh.preprocess.engines import synthstrip
from bids_mmh.preprocess.engines.synthstrip import (
    check_weights,
    conform,
    normalised,
    synthstrip_mask,
)
from bids_mmh.preprocess.images import corners, to_array, to_sitk


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file like ``synthstrip.1.pt``: the true network's shapes, random values."""
    import torch
    from nipreps.synthstrip.model import StripModel

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "synthstrip.1.pt"
    torch.save({"model_state_dict": StripModel().state_dict()}, path)
    return path


@pytest.fixture
def oblique():
    """A head-sized ball on oblique, anisotropic voxels, and where its centre is."""
    affine = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.2, 0.1, -0.1) @ np.diag([2.0, 2.0, 4.0]), [-70, -90, -60]
    )
    shape = (80, 90, 40)
    points = nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    centre = nib.affines.apply_affine(affine, (np.array(shape) - 1) / 2) + np.array([5, -3, 2])
    ball = np.linalg.norm(points - centre, axis=-1) < 65
    return to_sitk(np.where(ball, 100, 5).astype(np.float32), affine), ball


def test_the_network_gets_1_mm_lia_volumes_of_its_sizes(oblique):
    image, ball = oblique
    conformed = conform(image)
    assert conformed.GetSpacing() == (1.0, 1.0, 1.0)
    assert set(conformed.GetSize()) <= {192, 256, 320}
    # Rows of the direction are LPS; the axes point to the left, down and to the front.
    np.testing.assert_allclose(
        np.reshape(conformed.GetDirection(), (3, 3)).T, [[1, 0, 0], [0, 0, -1], [0, -1, 0]]
    )
    np.testing.assert_allclose(corners(conformed).mean(axis=0), corners(image).mean(axis=0), atol=1e-6)
    volume = (to_array(conformed) > 50).sum()
    assert volume == pytest.approx(ball.sum() * 16, rel=0.02)


def test_intensities_end_between_0_and_1():
    values = normalised(np.r_[-50.0, np.linspace(0, 100, 999), 1e9])
    assert (values.min(), values.max(), values.dtype) == (0, 1, np.float32)
    assert (normalised(np.zeros(10)) == 0).all()


def test_what_the_network_says_lands_on_the_scan(oblique, tmp_path, monkeypatch):
    image, ball = oblique

    def network(source, target, weights, threads):
        # Distances to the surface of whatever is bright, as the true network would give them.
        bright = SimpleITK.GetImageFromArray((np.load(source) > 0.5).astype(np.uint8))
        distance = SimpleITK.SignedMaurerDistanceMap(bright, squaredDistance=False)
        np.save(target, SimpleITK.GetArrayFromImage(distance))

    monkeypatch.setattr(synthstrip, "_run", network)
    mask = to_array(synthstrip_mask(image, tmp_path, weights=tmp_path)) > 0
    overlap = 2 * (mask & ball).sum() / (mask.sum() + ball.sum())
    assert overlap > 0.96
    assert list(tmp_path.iterdir()) == []


def test_random_weights_take_the_true_path_to_the_end(weights, tmp_path, monkeypatch):
    # Small volumes: the network is the true one, only the grid is less than SynthStrip's 192 mm.
    monkeypatch.setattr(synthstrip, "SMALLEST", 64)
    rng = np.random.default_rng(0)
    small = to_sitk(rng.uniform(0, 100, (30, 30, 30)).astype(np.float32), np.diag([2, 2, 2, 1]))
    monkeypatch.setattr("bids_mmh.preprocess.steps.brain.PLAUSIBLE_ML", (0.0, 1e4))
    mask = synthstrip_mask(small, tmp_path, 1, weights=weights)
    assert mask.GetSize() == small.GetSize()
    assert set(np.unique(to_array(mask))) <= {0, 1}


def test_no_brain_is_refused(oblique, tmp_path, monkeypatch):
    def nothing(source, target, weights, threads):
        np.save(target, np.full_like(np.load(source), 50))

    monkeypatch.setattr(synthstrip, "_run", nothing)
    with pytest.raises(BadDataError, match="SynthStrip found measures 0 ml"):
        synthstrip_mask(oblique[0], tmp_path, weights=tmp_path)


def test_weights_that_do_not_fit_are_named(tmp_path):
    import torch

    path = tmp_path / "other.pt"
    torch.save({"model_state_dict": {}}, path)
    small = to_sitk(np.ones((9, 9, 9), np.float32), np.eye(4))
    with pytest.raises(BadDataError, match=r"other\.pt"):
        synthstrip_mask(small, tmp_path, weights=path)


def test_without_weights_the_message_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="--synthstrip-weights"):
        check_weights(None)
    with pytest.raises(NoInputError, match="do not exist"):
        check_weights(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(BadDataError, match=r"text\.pt"):
        check_weights(tmp_path / "text.pt")
