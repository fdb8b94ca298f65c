import nibabel as nib
import numpy as np
import pytest

from bids_mmh.derivatives.checked_images import Voxels, clipping_flags, publish_mask, publish_scan
from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.grid import model_grid

GRID = model_grid(8.0)
VOXELS = Voxels.of_grid(GRID)


@pytest.fixture
def brain():
    mask = np.zeros(GRID.shape, bool)
    mask[4:14, 4:14, 4:14] = True
    return mask


@pytest.fixture
def values(brain):
    return (np.random.default_rng(0).uniform(50, 100, GRID.shape) * brain).astype(np.float32)


def image(data, affine=GRID.affine):
    return nib.Nifti1Image(data, affine)


def test_a_sound_image_gets_its_name(tmp_path, values, brain):
    path = tmp_path / "anat" / "scan.nii.gz"
    assert publish_scan(image(values), path, VOXELS, brain) == pytest.approx(2 / brain.sum())
    np.testing.assert_array_equal(nib.load(path).get_fdata(), values)
    assert [file.name for file in path.parent.iterdir()] == ["scan.nii.gz"]


def test_a_file_is_copied_byte_for_byte(tmp_path, values, brain):
    nib.save(image(values), tmp_path / "work.nii.gz")
    publish_scan(tmp_path / "work.nii.gz", tmp_path / "scan.nii.gz", VOXELS, brain)
    assert (tmp_path / "scan.nii.gz").read_bytes() == (tmp_path / "work.nii.gz").read_bytes()


def shifted():
    affine = GRID.affine.copy()
    affine[0, 3] += 0.5
    return affine


BAD = {
    "not finite": (lambda data: image(np.where(data > 99, np.nan, data)), "not finite"),
    "not finite outside the brain": (lambda data: image(np.where(data == 0, np.inf, data)), "not finite"),
    "another size": (lambda data: image(data[1:]), "18x23x23 voxels"),
    "another place": (lambda data: image(data, shifted()), "18x23x23 voxels"),
    "mirrored": (lambda data: image(data, GRID.affine @ np.diag([-1, 1, 1, 1])), "18x23x23 voxels"),
    "empty": (lambda data: image(0 * data), "brain is empty"),
}


@pytest.mark.parametrize(("make", "reason"), BAD.values(), ids=BAD)
def test_what_fails_keeps_no_name_and_spoils_no_earlier_result(tmp_path, values, brain, make, reason):
    path = tmp_path / "scan.nii.gz"
    for before in (None, b"of an earlier run"):
        if before:
            path.write_bytes(before)
        with pytest.raises(BadDataError, match=r"scan\.nii\.gz was not written because") as caught:
            publish_scan(make(values), path, VOXELS, brain)
        assert reason in str(caught.value)
        assert [file.read_bytes() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_a_disk_that_loses_bytes_is_noticed(tmp_path, values, brain, monkeypatch):
    def save(image, path):
        path.write_bytes(image.to_bytes()[:-100])

    monkeypatch.setattr(nib, "save", save)
    with pytest.raises((BadDataError, OSError)):
        publish_scan(image(values), tmp_path / "scan.nii", VOXELS, brain)
    assert not list(tmp_path.iterdir())


def test_clipped_intensities_are_counted_and_flagged(tmp_path, values, brain):
    limit = np.quantile(values[brain], 0.95)
    share = publish_scan(image(np.minimum(values, limit)), tmp_path / "scan.nii.gz", VOXELS, brain)
    assert share == pytest.approx(0.05, abs=0.002)
    (sentence,) = clipping_flags("scan.nii.gz", share)
    assert sentence.startswith("5.")
    assert "scan.nii.gz" in sentence
    assert clipping_flags("scan.nii.gz", 0.009) == []


@pytest.mark.parametrize("made", [lambda mask: 0 * mask, lambda mask: 2 * mask], ids=["empty", "2"])
def test_masks_are_checked(tmp_path, brain, made):
    mask = brain.astype(np.uint8)
    nib.save(image(mask), tmp_path / "good.nii.gz")
    np.testing.assert_array_equal(
        publish_mask(tmp_path / "good.nii.gz", tmp_path / "a.nii.gz", VOXELS), brain
    )
    nib.save(image(made(mask)), tmp_path / "bad.nii.gz")
    with pytest.raises(BadDataError, match="empty or holds values beside 0 and 1"):
        publish_mask(tmp_path / "bad.nii.gz", tmp_path / "b.nii.gz", VOXELS)
    assert not (tmp_path / "b.nii.gz").exists()
