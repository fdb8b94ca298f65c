"""What goes wrong in practice: the exit code, one sentence for each fault, and everybody else is served."""

import re
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.cli.main import main
from bids_mmh.runtime.locks import file_lock


@pytest.fixture(scope="module")
def raw(tmp_path_factory, write_raw, strip, random_model):
    """Three people: the first with half a T1w file, the second with two volumes, the third without a T1w."""
    root = tmp_path_factory.mktemp("errors")
    first, second = ("001", "site01"), ("002", "site01")
    write_raw(root / "raw", {"001": first, "002": first, "003": second})
    random_model(root / "model", 0)
    half = root / "raw" / "sub-001" / "anat" / "sub-001_T1w.nii.gz"
    half.write_bytes(half.read_bytes()[:20000])
    nib.save(
        nib.Nifti1Image(np.ones((20, 20, 20, 2), np.float32), np.eye(4)),
        root / "raw" / "sub-002" / "anat" / "sub-002_T1w.nii.gz",
    )
    (root / "raw" / "sub-002" / "anat" / "sub-002_T2w.nii.gz").unlink()
    (root / "raw" / "sub-003" / "anat" / "sub-003_T1w.nii.gz").unlink()
    strip(root / "raw" / "sub-003" / "anat" / "sub-003_T2w.nii.gz")
    return root


@pytest.fixture
def run(raw, capfd):
    def run(*options, out="out", folder="raw", model="model"):
        arguments = [str(raw / folder), str(raw / out), "participant", "-w", str(raw / "work"), "--sloppy"]
        fixed = ["--template", "MNI152NLin2009aSym", "--nprocs", "1", "--skip-bids-validation"]
        code = main([*arguments, *fixed, "--model", str(raw / model), *options])
        stdout, stderr = capfd.readouterr()
        assert stdout == ""
        assert "Traceback" not in stderr
        faults = [line for line in stderr.splitlines() if re.match("ERROR|bids-mmh: error", line)]
        return SimpleNamespace(code=code, faults=faults)

    return run


def test_bad_scans_are_named_and_the_others_are_done(raw, run):
    result = run("--skull-strip", "skip")
    assert result.code == 65
    truncated, undone, four_d = sorted(result.faults, key=lambda line: ("sub-002" in line, "T2w" in line))
    assert "sub-001_T1w.nii.gz is truncated or damaged: copy or convert it again." in truncated
    assert "sub-001_T2w.nii.gz was not processed because" in undone
    assert "sub-001_T1w.nii.gz, which failed" in undone
    assert "--sequences T2w" in undone
    assert "sub-002_T1w.nii.gz has the shape 20x20x20x2" in four_d
    done = {path.name for path in (raw / "out").glob("sub-*/anat/*_desc-harmonized_*.nii.gz")}
    assert done == {
        "sub-003_desc-harmonized_T2w.nii.gz",
        "sub-003_space-MNI152NLin2009aSym_res-4_desc-harmonized_T2w.nii.gz",
    }
    # A T2w alone is its session's anchor, so its mask is the brain mask.
    assert (raw / "out" / "sub-003" / "anat" / "sub-003_desc-brain_mask.nii.gz").is_file()
    assert "truncated or damaged" in (raw / "out" / "sub-001.html").read_text()
    (summary,) = (raw / "out" / "logs").glob("*_summary.tsv")
    statuses = dict(line.split("\t")[1:3] for line in summary.read_text().splitlines()[1:])
    assert statuses == {
        "sub-001_T1w.nii.gz": "failed",
        "sub-001_T2w.nii.gz": "failed",
        "sub-002_T1w.nii.gz": "failed",
        "sub-003_T2w.nii.gz": statuses["sub-003_T2w.nii.gz"],
    }
    assert statuses["sub-003_T2w.nii.gz"] in {"done", "flagged"}


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"options": ("--participant-label", "nobody")}, 18, "No participant nobody"),
        ({"folder": "nowhere"}, 66, "nowhere"),
        ({"out": "model/config.json/out"}, 73, "cannot be written"),
        ({"model": "no/model"}, 66, "no/model does not exist"),
        ({"options": ("--model", "large")}, 64, "no model named 'large'"),
        ({"options": ("--device", "tpu")}, 64, "--device"),
    ],
)
def test_wrong_arguments(run, options, code, words):
    result = run(*options.pop("options", ()), **options)
    assert result.code == code
    assert len(result.faults) == 1
    assert words in result.faults[0]


def test_an_empty_folder(raw, run):
    (raw / "empty").mkdir(exist_ok=True)
    result = run(folder="empty")
    assert (result.code, len(result.faults)) == (66, 1)


def test_a_damaged_model_is_found_before_any_work(raw, run, random_model):
    broken = random_model(raw / "broken", 0)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    result = run(model="broken", out="out2")
    assert (result.code, len(result.faults)) == (65, 1)
    assert str(broken) in result.faults[0]
    assert not list((raw / "out2").glob("sub-*"))


def test_a_model_that_does_not_know_the_sequence(run):
    result = run("--sequences", "T1w", "T2w", "FLAIR", "--participant-label", "001", out="out3")
    assert result.code == 65  # there is no FLAIR, so the model need not know it
    assert len(result.faults) == 2


def test_a_session_of_another_run_is_left_to_it(raw, run):
    with file_lock(raw / "out4" / "logs" / ".sub_003.lock"):
        result = run("--participant-label", "003", out="out4")
    assert result.code == 75
    assert len(result.faults) == 1
    assert "sub-003: another run is working on it" in result.faults[0]
    assert not list((raw / "out4").glob("sub-*"))
