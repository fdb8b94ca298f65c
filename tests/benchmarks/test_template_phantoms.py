from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.phantom.head.deformation import DISPLACEMENT_GRID
from bids_mmh.phantom.head.grid import HEAD
from bids_mmh.phantom.imaging.acquisition import draw_site
from bids_mmh.training.data.scans import find_scans, load_on_grid


@pytest.fixture(scope="module")
def phantoms(load_benchmark):
    return load_benchmark("training/template_phantoms")


def test_a_head_without_a_shape_of_its_own_lies_on_the_template(phantoms):
    head = SimpleNamespace(displacement=np.zeros((3, *DISPLACEMENT_GRID.shape), np.float32))
    geometry = phantoms.in_template(head, draw_site(0, 0).protocols["T1w"])
    for voxel in ((0, 0, 0), (70, 90, 100)):
        millimetres = (phantoms.GRID.affine @ [*voxel, 1])[:3]
        assert geometry.voxels[(slice(None), *voxel)] == pytest.approx(millimetres - HEAD.origin, abs=1e-3)


def test_scans_are_written_as_training_reads_them(phantoms, tmp_path):
    rng = np.random.default_rng(0)
    mask = np.zeros(phantoms.GRID.shape, np.uint8)
    mask[60:80, 60:90, 60:90] = 1
    values = rng.uniform(50, 900, mask.shape).astype(np.float32)
    phantoms.write(tmp_path / "sub-007" / "ses-north" / "anat", "T2w", "north", values, mask)
    (scan,) = find_scans([tmp_path], ["T2w"])
    assert (scan.subject, scan.site) == ("sub-007", "north")
    volume = load_on_grid(scan, phantoms.GRID.shape).astype(np.float32)
    assert ((volume > -1) == (mask > 0)).all()
    assert np.percentile(volume[mask > 0], [1, 99]) == pytest.approx([-0.9, 0.9], abs=2e-3)
    assert nib.load(scan.image).affine == pytest.approx(phantoms.GRID.affine)
