import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import bids_mmh.training.data as data
from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.training.data import TrainingScan, VolumeCache, find_scans, load_on_grid, split_subjects


def test_find_scans_reads_sidecars(derivatives, write_scan):
    write_scan(derivatives, "04", Site=None, IntensityScaling={"Slope": 0.5, "Intercept": 2})
    scans = find_scans([derivatives], ["T1w", "T2w"])
    assert len(scans) == 7
    found = {(scan.subject, scan.sequence): scan for scan in scans}
    assert len(found) == 7
    scan = found["sub-02", "T2w"]
    assert scan.image.name == "sub-02_space-MNI152NLin2009cAsym_desc-preproc_T2w.nii.gz"
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
    assert len(find_scans([tmp_path], ["T1w"])) == 1


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


def scans_of(subjects, each=2):
    return [
        TrainingScan(f"{s}{i}", "", "T1w", "", subject=f"sub-{s:02}", slope=1, intercept=0)
        for s in range(subjects)
        for i in range(each)
    ]


@pytest.mark.parametrize(
    ("subjects", "fraction", "held"), [(10, 0.2, 2), (10, 0.0, 1), (2, 0.9, 1), (1, 0.2, 0)]
)
def test_split_never_shares_a_subject(subjects, fraction, held):
    scans = scans_of(subjects)
    train, validation = split_subjects(scans, fraction, seed=1)
    assert len(validation) == held
    assert not train & validation
    assert train | validation == {scan.subject for scan in scans}


def test_split_depends_on_the_seed_alone():
    scans = scans_of(12)
    splits = {tuple(sorted(split_subjects(scans, 0.25, seed)[1])) for seed in range(6)}
    assert len(splits) > 1
    assert split_subjects(scans[::-1], 0.25, 3) == split_subjects(scans, 0.25, 3)


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


def test_cache_gives_padded_volumes(derivatives, tiny, tmp_path):
    cache = VolumeCache(find_scans([derivatives], ["T1w", "T2w"]), tiny, tmp_path / "cache")
    assert len(cache) == 6
    volume = cache[4]
    assert volume.image.shape == (1, 1, 10, 12, 12)
    assert volume.image.dtype == torch.float32
    expected = torch.from_numpy(load_on_grid(cache.scans[4], tiny.shape).astype(np.float32))
    assert torch.equal(volume.image[0, 0, :9], expected)
    assert (volume.image[..., 9:, :, :] == -1).all()
    assert torch.equal(volume.mask, volume.image > -1)
    assert int(volume.mask.sum()) == 7 * 10 * 10
    assert volume.sequence.tolist() == [1]
    assert cache[0].sequence.tolist() == [0]


def test_cache_is_built_once(derivatives, tiny, tmp_path, monkeypatch):
    built = []

    def counting(scan, shape):
        built.append(shape)
        return load_on_grid(scan, shape)

    monkeypatch.setattr(data, "load_on_grid", counting)
    scans = find_scans([derivatives], ["T1w"])
    first = VolumeCache(scans, tiny, tmp_path / "cache")[0]
    again = VolumeCache(scans, tiny, tmp_path / "cache")[0]
    assert torch.equal(first.image, again.image)
    assert len(built) == 1
    VolumeCache(scans, replace(tiny, shape=(3, 4, 4)), tmp_path / "cache")[0]
    VolumeCache([replace(scans[0], slope=0.02)], tiny, tmp_path / "cache")[0]
    assert len(built) == 3
    assert len(list((tmp_path / "cache").iterdir())) == 3
