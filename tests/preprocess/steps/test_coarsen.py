import numpy as np
import pytest

from bids_mmh.preprocess.grid import Grid, model_grid
from bids_mmh.preprocess.steps.coarsen import coarsen


def test_cells_are_means_of_the_brain_in_them_where_that_is_more_than_half():
    values, mask = np.full((4, 4, 4), 7.0), np.zeros((4, 4, 4), bool)
    mask[:2, :2, :2] = True  # a whole cell
    values[:2, :2, :2] = np.arange(8).reshape(2, 2, 2)
    mask[2:, 2:, 2:] = [[[True, True], [True, True]], [[True, False], [False, False]]]  # five of eight
    values[2:, 2:, 2:][mask[2:, 2:, 2:]] = 4
    mask[0, 0, 2:] = True  # two of eight
    mean, brain = coarsen(values, mask, Grid((2, 2, 2), 8.0))
    assert brain.sum() == 2
    assert (mean[0, 0, 0], mean[1, 1, 1], mean.sum()) == (3.5, 4, 7.5)


def test_it_is_what_training_reads(tmp_path):
    import nibabel as nib

    from bids_mmh.derivatives.scan import DerivedScan
    from bids_mmh.training.data.scans import load_on_grid

    fine, coarse = model_grid(4.0), model_grid(8.0)
    rng = np.random.default_rng(0)
    values, mask = rng.uniform(50, 100, fine.shape).astype(np.float32), rng.random(fine.shape) > 0.4
    files = [tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz"]
    for file, array in zip(files, (values, mask.astype(np.uint8)), strict=True):
        nib.save(nib.Nifti1Image(array, fine.affine), file)
    read = load_on_grid(DerivedScan(*files, "T1w", "a", "sub-1", 0.02, -1.5), coarse.shape)
    mean, brain = coarsen(values, mask, coarse)
    np.testing.assert_array_equal(brain, read > -1)
    np.testing.assert_allclose(mean[brain] * 0.02 - 1.5, read[brain], atol=2e-3)


def test_grids_that_do_not_fit():
    with pytest.raises(ValueError, match="cannot be averaged"):
        coarsen(np.zeros((4, 4, 4)), np.ones((4, 4, 4), bool), Grid((3, 3, 3), 8.0))
