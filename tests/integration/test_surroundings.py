"""What surrounds a run: no home, no locale, a clock that is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

RUN = Path(__file__).parents[2] / "run.py"
BARE = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "OMP_NUM_THREADS": "1"}
PLACES = {
    "no home, plain letters": {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "a home that cannot be written": {"HOME": "/proc/1/no", "LANG": "C", "XDG_CACHE_HOME": "/proc/1/no"},
    "a time zone that is none": {"HOME": "/nonexistent", "TZ": "Nowhere/Nothing", "LANG": "xx_YY.unknown"},
}


@pytest.fixture
def raw(tmp_path) -> Path:
    root = tmp_path / "Zürich 🏥"
    path = root / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), path)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "ü", "BIDSVersion": "1.10.0"}))
    (root / "participants.tsv").write_text("participant_id\tsite\nsub-01\tZürich 🏥\n", encoding="utf-8")
    return root


@pytest.mark.parametrize("environment", PLACES.values(), ids=PLACES)
def test_a_run_needs_no_home_and_no_locale(raw, tmp_path, environment):
    arguments = [
        str(raw),
        str(tmp_path / "out ü"),
        "participant",
        "-w",
        str(tmp_path / "work"),
        "--boilerplate-only",
    ]
    fixed = ["--skip-bids-validation", "--template", "MNI152NLin2009aSym", "--preproc-only"]
    done = subprocess.run(
        [sys.executable, RUN, *arguments, *fixed],
        env=BARE | environment, capture_output=True, cwd="/", check=False, timeout=300,
    )  # fmt: skip
    said = done.stderr.decode("utf-8", errors="replace")
    assert done.returncode == 0, said
    assert "Traceback" not in said
    (table,) = (tmp_path / "out ü" / "logs").glob("*_sites.tsv")
    assert "Zürich 🏥" in table.read_text(encoding="utf-8")
