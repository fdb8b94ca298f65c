import numpy as np
import pytest

from bids_mmh.errors import UsageError
from bids_mmh.preprocess.grid import model_grid


@pytest.mark.parametrize(
    ("spacing", "shape"), [(1.0, (144, 184, 184)), (2.0, (72, 92, 92)), (4.0, (36, 46, 46))]
)
def test_every_spacing_fills_the_same_box(spacing, shape):
    grid = model_grid(spacing)
    assert grid.shape == shape
    low = grid.affine @ [-0.5, -0.5, -0.5, 1]
    high = grid.affine @ [*(np.array(shape) - 0.5), 1]
    np.testing.assert_allclose(low[:3], [-72, -109, -86])
    np.testing.assert_allclose(high[:3], [72, 75, 98])


def test_reference_image_lies_where_the_affine_says():
    grid = model_grid(2.0)
    lps = np.array(grid.reference().TransformIndexToPhysicalPoint((3, 5, 7)))
    np.testing.assert_allclose(lps * [-1, -1, 1], (grid.affine @ [3, 5, 7, 1])[:3])


@pytest.mark.parametrize("spacing", [0.0, -1.0, 1.7, 200.0])
def test_spacing_that_does_not_divide_the_box_is_refused(spacing):
    with pytest.raises(UsageError, match="1, 2 or 4 mm"):
        model_grid(spacing)


def test_box_holds_the_template_brain(template):
    import nibabel as nib

    mask = nib.load(template.brain_mask)
    world = nib.affines.apply_affine(mask.affine, np.argwhere(mask.get_fdata() > 0))
    assert (world >= [-72, -109, -86]).all()
    assert (world <= [72, 75, 98]).all()
