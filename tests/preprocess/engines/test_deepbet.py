import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines import choice, deepbet, own_process
from bids_mmh.preprocess.images import to_sitk

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def _ball(radius_mm):
    x, y, z = np.indices((70, 70, 70)) * 3.0
    return (x - 105) ** 2 + (y - 105) ** 2 + (z - 105) ** 2 < radius_mm**2


def test_it_can_be_chosen(monkeypatch, tmp_path):
    mask = to_sitk(_ball(70).astype(np.uint8), AFFINE)
    monkeypatch.setattr(choice, "deepbet_mask", lambda *_: mask)
    extractor = choice.brain_extractor("deepbet")
    found = extractor.extract(mask, tmp_path, 1)
    assert (found.program, found.mask, found.warnings) == ("deepbet", mask, ())


@pytest.mark.parametrize(
    ("code", "radius", "message"),
    [(1, 70, "deepbet: RuntimeError: broken"), (0, 30, "11[0-9] ml"), (0, 95, "ml, which cannot be right")],
)
def test_deepbet_that_fails_or_finds_nonsense_raises(monkeypatch, tmp_path, code, radius, message):
    def run(command, **kwargs):
        assert kwargs["env"]["OMP_NUM_THREADS"] == "3"
        nib.save(nib.Nifti1Image(_ball(radius).astype(np.uint8), AFFINE), command[-1])
        return SimpleNamespace(returncode=code, stderr="Traceback\nRuntimeError: broken\n")

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(own_process.subprocess, "run", run)
    with pytest.raises(BadDataError, match=message):
        deepbet.deepbet_mask(to_sitk(_ball(95).astype(np.float32), AFFINE), tmp_path, threads=3)


@pytest.mark.filterwarnings("error")
def test_a_process_that_has_torch_does_without_another(monkeypatch, tmp_path):
    import torch

    def write_mask(scan, mask):
        assert torch.get_num_threads() == 3
        assert Path(scan).is_file()
        warnings.warn("of a library", FutureWarning, stacklevel=1)
        raise RuntimeError("broken")

    threads = torch.get_num_threads()
    monkeypatch.setattr(own_process.subprocess, "run", lambda *_, **__: pytest.fail("another process"))
    monkeypatch.setattr(deepbet, "write_mask", write_mask)
    with pytest.raises(BadDataError, match="deepbet: RuntimeError: broken"):
        deepbet.deepbet_mask(to_sitk(_ball(95).astype(np.float32), AFFINE), tmp_path, threads=3)
    assert torch.get_num_threads() == threads
