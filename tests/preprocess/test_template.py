import gzip
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.errors import UsageError
from bids_mmh.preprocess import template as module
from bids_mmh.preprocess.template import find_template


def test_nilearn_template_is_named_truthfully_and_its_mask_is_one_solid_brain(template):
    from scipy import ndimage

    mask = nib.load(template.brain_mask)
    data = mask.get_fdata() > 0
    assert template.space == "MNI152NLin2009aSym"
    assert "nilearn" in template.source
    assert 1700 < data.sum() / 1000 < 2000  # ml, ICBM 2009 brains have 1.88 l
    assert ndimage.label(data)[1] == 1
    assert data[tuple(np.round(np.linalg.inv(mask.affine) @ [0, -20, 12, 1]).astype(int)[:3])]  # ventricles


def _fill_home(home, content):
    folder = home / "tpl-MNI152NLin2009cAsym"
    folder.mkdir(parents=True)
    for name in ("T1w", "desc-brain_mask"):
        (folder / f"tpl-MNI152NLin2009cAsym_res-01_{name}.nii.gz").write_bytes(content)


def test_templateflow_home_is_used_when_its_files_are_whole(tmp_path, monkeypatch):
    _fill_home(tmp_path / "home", gzip.compress(nib.Nifti1Image(np.ones((9, 9, 9)), np.eye(4)).to_bytes()))
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "home"))
    found = find_template("MNI152NLin2009cAsym", tmp_path / "cache")
    assert found.space == "MNI152NLin2009cAsym"
    assert found.brain_mask.is_relative_to(tmp_path / "home")


@pytest.mark.parametrize("kind", ["placeholder", "cut short"])
def test_placeholders_and_cut_downloads_are_not_taken_for_templates(tmp_path, monkeypatch, kind):
    whole = gzip.compress(nib.Nifti1Image(np.random.rand(20, 20, 20), np.eye(4)).to_bytes())
    _fill_home(tmp_path / "home", b"" if kind == "placeholder" else whole[:2000])
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "_fetch", lambda name: False)
    found = find_template("MNI152NLin2009cAsym", tmp_path / "cache")
    assert found.space == "MNI152NLin2009aSym"
    assert "could not be fetched" in found.source


def test_unknown_template_is_refused(tmp_path):
    with pytest.raises(UsageError, match="Talairach"):
        find_template("Talairach", tmp_path)


def test_the_template_of_nilearn_is_the_file_that_nilearn_names(template):
    from nilearn.datasets.struct import MNI152_FILE_PATH

    assert template.t1w.samefile(MNI152_FILE_PATH)


def test_without_a_network_templateflow_is_not_even_imported(tmp_path, monkeypatch):
    script = module._FETCH_SCRIPT.replace("from templateflow.api", "from nowhere")
    lost = "import socket\ndef fail(*_): raise OSError\nsocket.getaddrinfo = fail\n" + script
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    done = subprocess.run([sys.executable, "-c", lost], capture_output=True, text=True, check=False)
    assert "in fail" in done.stderr
    assert "nowhere" not in done.stderr
