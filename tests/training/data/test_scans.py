import json

import numpy as np
import pytest

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.training.data.scans import find_scans, load_on_grid


def test_find_scans_reads_sidecars(derivatives, write_scan):
    write_scan(derivatives, "04", site=None, scaling=(0.5, 2))
    scans = find_scans([derivatives], ["T1w", "T2w"])
    assert len(scans) == 7
    found = {(scan.subject, scan.sequence): scan for scan in scans}
    assert len(found) == 7
    scan = found["sub-02", "T2w"]
    assert scan.image.name == "sub-02_space-MNI152NLin2009cAsym_res-1_desc-preproc_T2w.nii.gz"
    assert scan.image.is_file()
    assert scan.mask.is_file()
    assert (scan.site, scan.slope, scan.intercept) == ("alpha", 0.01, -1.0)
    other = found["sub-04", "T1w"]
    assert (other.site, other.slope, other.intercept) == ("n/a", 0.5, 2.0)


def test_find_scans_takes_only_the_sequences_asked_for_from_all_folders(derivatives, write_scan, tmp_path):
    write_scan(tmp_path / "more", "09")
    scans = find_scans([derivatives, tmp_path / "more"], ["T1w"])
    assert [scan.subject for scan in scans] == ["sub-01", "sub-02", "sub-03", "sub-09"]
    assert {scan.sequence for scan in scans} == {"T1w"}


def test_find_scans_looks_into_sessions(tmp_path, write_scan):
    path = write_scan(tmp_path / "sub-01", "01").parents[1]
    (tmp_path / "sub-01" / "ses-a").mkdir()
    (path / "anat").rename(tmp_path / "sub-01" / "ses-a" / "anat")
    (scan,) = find_scans([tmp_path], ["T1w"])
    assert (scan.subject, scan.session) == ("sub-01", None)


def test_the_session_is_in_the_name(tmp_path, write_scan):
    path = write_scan(tmp_path, "01")
    path.rename(path.with_name(path.name.replace("sub-01_", "sub-01_ses-b_")))
    image = path.with_suffix(".nii.gz")
    image.rename(image.with_name(image.name.replace("sub-01_", "sub-01_ses-b_")))
    assert find_scans([tmp_path], ["T1w"])[0].session == "b"


def test_nothing_found(tmp_path):
    with pytest.raises(
        NoInputError, match=r"No preprocessed T1w or T2w scans in .*: run `participant` first"
    ):
        find_scans([tmp_path / "none"], ["T1w", "T2w"])


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", json.dumps({"IntensityScaling": None}), json.dumps({"IntensityScaling": {"Slope": 1}})],
)
def test_sidecar_of_something_else(tmp_path, write_scan, text):
    path = write_scan(tmp_path, "01")
    path.write_text(text)
    with pytest.raises(BadDataError, match=r"sub-01_.*json is not a sidecar of this tool"):
        find_scans([tmp_path], ["T1w"])


@pytest.mark.parametrize("missing", ["*_mask.nii.gz", "*_T1w.nii.gz"])
def test_image_or_mask_is_missing(tmp_path, write_scan, missing):
    next(write_scan(tmp_path, "01").parent.glob(missing)).unlink()
    with pytest.raises(BadDataError, match=r"nii\.gz is missing"):
        find_scans([tmp_path], ["T1w"])


def scan_of(path):
    return find_scans([path.parents[2]], ["T1w"])[0]


def test_load_on_grid_averages_inside_the_mask(tmp_path, write_scan):
    """Cells of 2×2×2: all inside; six inside; exactly half inside; one inside."""
    array = np.arange(32, dtype=float).reshape(2, 2, 8) * 2
    mask = np.ones((2, 2, 8))
    mask[0, 0, 2:4] = 0
    mask[0, :, 4:6] = 0
    mask[:, :, 6:8] = 0
    mask[1, 1, 7] = 1
    scan = scan_of(write_scan(tmp_path, "01", array=array, mask=mask))
    volume = load_on_grid(scan, (1, 1, 4))
    means = [array[:, :, :2].mean(), array[:, :, 2:4][mask[:, :, 2:4] > 0].mean()]
    np.testing.assert_allclose(volume[0, 0], [0.01 * means[0] - 1, 0.01 * means[1] - 1, -1, -1], atol=1e-3)
    assert volume.dtype == np.float16


def test_dark_brain_stays_distinct_from_background(tmp_path, write_scan):
    scan = scan_of(write_scan(tmp_path, "01", array=np.full((4, 4, 4), -50.0)))
    volume = load_on_grid(scan, (4, 4, 4))
    assert (volume[1:-1, 1:-1, 1:-1] > -1).all()
    assert volume[0, 0, 0] == -1


@pytest.mark.parametrize("shape", [(2, 2, 3), (18, 24, 24), (3, 4, 5)])
def test_grid_that_is_not_the_scans(derivatives, shape):
    with pytest.raises(BadDataError, match=r"do not fit a .* grid"):
        load_on_grid(find_scans([derivatives], ["T1w"])[0], shape)


def test_mask_of_another_shape(tmp_path, write_scan):
    scan = scan_of(write_scan(tmp_path, "01", mask=np.ones((9, 12, 11))))
    with pytest.raises(BadDataError, match="do not fit"):
        load_on_grid(scan, (9, 12, 12))
