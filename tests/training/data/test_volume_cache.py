from dataclasses import replace

import numpy as np
import pytest
import torch

import bids_mmh.training.data.volume_cache as caching
from bids_mmh.errors import BadDataError
from bids_mmh.training.data.scans import find_scans, load_on_grid
from bids_mmh.training.data.volume_cache import VolumeCache


def test_cache_gives_volumes(derivatives, tiny, tmp_path):
    cache = VolumeCache(find_scans([derivatives], ["T1w", "T2w"]), tiny, tmp_path / "cache")
    assert len(cache) == 6
    volume = cache[4]
    assert volume.image.shape == (1, 1, 9, 12, 12)
    assert volume.image.dtype == torch.float32
    expected = torch.from_numpy(load_on_grid(cache.scans[4], tiny.shape).astype(np.float32))
    assert torch.equal(volume.image[0, 0], expected)
    assert torch.equal(volume.mask, volume.image > -1)
    assert int(volume.mask.sum()) == 7 * 10 * 10
    assert volume.sequence.tolist() == [1]
    assert cache[0].sequence.tolist() == [0]


def test_cache_is_built_once(derivatives, tiny, tmp_path, monkeypatch):
    built = []

    def counting(scan, shape):
        built.append(shape)
        return load_on_grid(scan, shape)

    monkeypatch.setattr(caching, "load_on_grid", counting)
    scans = find_scans([derivatives], ["T1w"])
    first = VolumeCache(scans, tiny, tmp_path / "cache")[0]
    again = VolumeCache(scans, tiny, tmp_path / "cache")[0]
    assert torch.equal(first.image, again.image)
    assert len(built) == 1
    VolumeCache(scans, replace(tiny, shape=(3, 4, 4)), tmp_path / "cache")[0]
    VolumeCache([replace(scans[0], slope=0.02)], tiny, tmp_path / "cache")[0]
    assert len(built) == 3
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.fixture
def cache(derivatives, tiny, tmp_path):
    return VolumeCache(find_scans([derivatives], ["T1w", "T2w"]), tiny, tmp_path / "cache")


@pytest.mark.parametrize("damage", ["cut", "empty", "shape", "type", "text"])
def test_a_damaged_file_is_built_anew(cache, tiny, damage):
    cache.build()
    whole = cache[2].image
    file = cache.files[2]
    content = file.read_bytes()
    if damage in ("shape", "type"):
        array = np.load(file)
        np.save(file, array[:-1] if damage == "shape" else array.astype(np.float32))
    else:
        file.write_bytes({"cut": content[:-9], "empty": b"", "text": b"not an array"}[damage])
    assert file.read_bytes() != content
    assert torch.equal(cache[2].image, whole)
    assert file.read_bytes() == content
    file.write_bytes(content[:-9])
    cache.build()
    assert file.read_bytes() == content


@pytest.mark.parametrize("threads", [1, 3])
def test_building_ahead(cache, monkeypatch, threads):
    cache.build(threads)
    assert all(file.is_file() for file in cache.files)
    monkeypatch.setattr(caching, "load_on_grid", None)  # nothing is left to be read
    cache.build(threads)
    assert [int(cache[i].sequence) for i in range(6)] == [0, 0, 0, 1, 1, 1]


def test_a_scan_that_cannot_be_read(cache):
    file = cache.scans[3].image
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BadDataError, match=rf"{file.name} cannot be read .*preprocess the scan again"):
        cache.build(threads=2)
