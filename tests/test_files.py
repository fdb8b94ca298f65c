import gzip

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.files import fingerprint


@pytest.fixture
def head():
    data = np.zeros((64, 64, 64), np.int16)
    data[16:40, 16:48, 16:48] = np.random.default_rng(0).integers(1, 1000, (24, 32, 32))
    return data


def save(path, data):
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return fingerprint(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_mirrored_scan_and_one_other_voxel_are_other_content(tmp_path, head, ending):
    path = tmp_path / f"scan{ending}"
    first = save(path, head)
    assert save(path, head) == first
    assert save(path, head[::-1]) != first
    head[30, 30, 30] += 1
    assert save(path, head) != first


def test_every_part_of_a_gzip_file_counts(tmp_path):
    noise = np.random.default_rng(0)
    parts = [noise.bytes(200_000) for _ in range(3)]
    path = tmp_path / "parts.gz"

    def write():
        path.write_bytes(b"".join(gzip.compress(part, mtime=0) for part in parts))
        return fingerprint(path)

    first = write()
    parts[1] = noise.bytes(200_000)
    assert write() != first


def test_short_files_and_none(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"x")
    assert len({fingerprint(tmp_path / name) for name in ("a", "b", "none")}) == 3
    assert fingerprint(tmp_path / "none") == "0" * 16
