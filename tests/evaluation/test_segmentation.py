import os
import pickle
import stat
import sys

import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.metrics.overlap import overlap
from bids_mmh.evaluation.segmentation import BuiltInSegmenter, SynthSegSegmenter, find_segmenter
from bids_mmh.evaluation.tissues import grey_matter_ratio, segment_tissues
from bids_mmh.preprocess.grid import model_grid

GRID = model_grid(8)

# As mri_synthseg: a folder in, a folder out, voxels of half the size, FreeSurfer's labels, names of its own.
STAND_IN = """#!{python}
import argparse, pathlib, sys
import nibabel, numpy
parser = argparse.ArgumentParser()
for name in ("--i", "--o", "--threads"):
    parser.add_argument(name, required=True)
parser.add_argument("--cpu", action="store_true", required=True)
given = parser.parse_args()
pathlib.Path(given.o).mkdir()
for path in sorted(pathlib.Path(given.i).glob("*.nii.gz")):
    image = nibabel.load(path)
    values = numpy.asarray(image.dataobj)
    labels = numpy.select([values > 1.5, values > 1.0, values > 0.5, values > 0], [41, 10, 3, 24], 0)
    fine = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2).astype("int32")
    affine = image.affine.copy()
    affine[:3, :3] /= 2
    affine[:3, 3] -= image.affine.diagonal()[:3] / 4
    name = path.name.replace(".nii", "_synthseg.nii")
    nibabel.save(nibabel.Nifti1Image(fine, affine), pathlib.Path(given.o) / name)
"""


@pytest.fixture
def brain():
    mask = np.zeros(GRID.shape, bool)
    mask[3:-3, 3:-3, 8:-5] = True
    volume = np.random.default_rng(0).uniform(-1, 1, GRID.shape).astype(np.float32)
    return volume, mask


@pytest.fixture
def program(tmp_path, monkeypatch):
    def write(text):
        path = tmp_path / "mri_synthseg"
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return path

    return write


def test_built_in_segmentation_serves_without_freesurfer(brain, monkeypatch):
    monkeypatch.setenv("PATH", "")
    segmenter = find_segmenter(GRID.affine)
    assert isinstance(segmenter, BuiltInSegmenter)
    volume, mask = brain
    (labels,) = pickle.loads(pickle.dumps(segmenter)).segment([volume], mask)  # as another process gets it
    assert np.array_equal(labels, segment_tissues(volume, mask))


def test_synthseg_is_used_where_it_is_installed(brain, program):
    program(STAND_IN.format(python=sys.executable))
    segmenter = find_segmenter(GRID.affine, threads=2)
    assert isinstance(segmenter, SynthSegSegmenter)
    volume, mask = brain
    labels, inverted = pickle.loads(pickle.dumps(segmenter)).segment([volume, -volume], mask)
    expected = np.select([volume > 0.5, volume > 0, volume > -0.5], [3, 4, 2], 1)
    assert np.array_equal(labels, np.where(mask, expected, 0))
    assert not np.array_equal(labels, inverted)
    agreement = overlap(labels, labels, segmenter.tissues)
    assert set(agreement) == {"CSF", "GM", "WM", "subcortical"}
    assert grey_matter_ratio(labels) == pytest.approx(0.5, abs=0.02)  # cortical and subcortical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#!/bin/sh\necho 'no licence' >&2\nexit 3\n", "exit code 3: no licence"),
        ("#!/bin/sh\nexit 0\n", "left a scan out"),
        ("#!/nowhere\n", "cannot be run"),
    ],
)
def test_synthseg_that_fails_says_so(brain, program, text, message):
    program(text)
    volume, mask = brain
    with pytest.raises(BadDataError, match=message):
        find_segmenter(GRID.affine).segment([volume], mask)
