import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.bids.session import Scan
from bids_mmh.derivatives.jobs import ScanJob
from bids_mmh.participant.outputs import write_preprocessed
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.template import Template
from bids_mmh.preprocess.transforms import from_matrix, save_transform
from bids_mmh.settings import Settings

SPACE = "MNI152NLin2009aSym"


@pytest.fixture
def no_pictures(monkeypatch):
    """Draw no figures, which is most of the time of a page; tests/reports and test_evaluate.py do."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, target, **__: target.write(b"picture"))


@pytest.fixture
def no_session_pages(monkeypatch):
    """Write a word in place of a session's page, whose pictures take seconds."""
    nowhere = Template("MNI152NLin2009aSym", Path("t1w"), Path("mask"), "")
    monkeypatch.setattr("bids_mmh.group.jobs.find_template", lambda *_: nowhere)
    monkeypatch.setattr(
        "bids_mmh.participant.report.write_session_page", lambda job: job.page.write_text("page")
    )


def _group_settings(output_dir, **changes):
    given = {"bids_dir": output_dir.parent / "raw", "analysis_level": "group", "no_evaluation": True}
    given |= {"work_dir": output_dir.parent / "work", "nprocs": 1, "device": "cpu"}
    return Settings(**{**given, "output_dir": output_dir, **changes})


@pytest.fixture
def group_settings():
    """Settings of the group level, by default without the evaluation."""
    return _group_settings


def _write_visit(
    output_dir, subject, site, *, sequences=("T1w",), sessions=True, native=True, level=0.0, spacing=8.0
):
    """Write the preprocessed derivatives of a visit as the participant level does, on a coarse grid.

    The scans of a subject are alike but for the contrast and the brightness (``level``) of the site.
    """
    grid = model_grid(spacing)
    folder = output_dir.parent / "work files"
    folder.mkdir(parents=True, exist_ok=True)
    label = (site or "x").replace(" ", "").replace("_", "").replace("-", "")
    entities = {"subject": subject} | ({"session": label} if sessions else {})
    stem = f"sub-{subject}" + (f"_ses-{label}" if sessions else "")
    settings = _group_settings(
        output_dir,
        analysis_level="participant",
        output_spaces=("MNI", "native") if native else ("MNI",),
        preproc_only=True,
    )
    unit = np.random.default_rng(sum(map(ord, subject))).uniform(0.1, 0.9, grid.shape).astype(np.float32)
    mask = np.zeros(grid.shape, np.uint8)
    mask[3:-3, 3:-3, 3:-3] = 1
    made = {}
    for sequence in sequences:
        raw = settings.bids_dir / f"sub-{subject}" / "anat" / f"{stem}_{sequence}.nii.gz"
        made[sequence] = Scan(raw, sequence, entities, site)
    for sequence, scan in made.items():
        values = (unit if sequence == "T1w" else 1 - unit) ** (1 + level) * 200 * mask
        job = ScanJob(scan, made[sequences[0]], SPACE, spacing, settings, None)
        work = {"qc_json": folder / "qc.json", "to_mni_xfm": folder / "xfm.txt"}
        work["qc_json"].write_text('{"seconds": {}, "warnings": []}')
        work["to_anchor_xfm"] = save_transform(from_matrix(np.eye(4)), work["to_mni_xfm"])
        for name, array in (("preproc", values), ("mask", mask)):
            file = folder / f"{name}.nii.gz"
            nib.save(nib.Nifti1Image(array, grid.affine), file)
            work |= {f"mni_{name}": file, f"native_{name}": file}
        write_preprocessed(job, work)


@pytest.fixture
def write_visit():
    return _write_visit


@pytest.fixture(scope="session")
def written_study(tmp_path_factory):
    """What ``study`` is a copy of."""
    out = tmp_path_factory.mktemp("study") / "out"
    for site, subjects in (("a", ("01", "02", "03", "04", "20")), ("b", ("11", "12", "13", "14", "20"))):
        for subject in subjects:
            _write_visit(out, subject, site, level=0.0 if site == "a" else 0.6)
    return out


@pytest.fixture
def study(written_study, tmp_path):
    """Derivatives of sites a and b with four subjects each, and of a subject who was at both."""
    return Path(shutil.copytree(written_study, tmp_path / "out"))
