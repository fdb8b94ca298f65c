"""What starts without the libraries whose import takes long: asserted in processes of their own."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.derivatives.models import resolve_model
from bids_mmh.method.config import PRESETS
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.participant.outputs import write_scan
from bids_mmh.participant.report import write_session_page
from bids_mmh.participant.setup import find_jobs
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.template import find_template
from bids_mmh.settings import Settings

TEMPLATE = "MNI152NLin2009aSym"


SLOW = ("torch", "nipype", "nilearn", "matplotlib", "SimpleITK")


def run(*arguments):
    """Exit code of the program, what it said, and which slow libraries it loaded."""
    program = (
        "import sys\n"
        "from bids_mmh.cli.main import main\n"
        "try:\n    code = main(sys.argv[1:])\n"
        "except SystemExit as left:\n    code = left.code\n"
        f"print(*[name for name in {SLOW} if name in sys.modules])\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr, done.stdout.splitlines()[-1].split()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A raw scan, a model, and derivatives that are complete."""
    root = tmp_path_factory.mktemp("imports")
    scan = root / "raw" / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    scan.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), scan)
    (root / "raw" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    Harmonizer(PRESETS["tiny"]).save_pretrained(root / "model")
    settings = Settings(
        bids_dir=root / "raw",
        output_dir=root / "out",
        analysis_level="participant",
        work_dir=root / "work",
        output_spaces=("MNI",),
        template=TEMPLATE,
        model=str(root / "model"),
    )
    template = find_template(TEMPLATE, root / "work" / "templates")
    (job,) = find_jobs(settings, resolve_model(settings.model), template, sites_file=None)
    write_scan(job.scans[0], _work(root))
    write_session_page(job)
    (root / "out" / "dataset_description.json").write_text(
        json.dumps({"Name": "x", "BIDSVersion": "1.10.0", "GeneratedBy": [{"Name": "bids-mmh"}]})
    )
    return root


def _work(root):
    """What preprocessing and the model would have left."""
    grid = model_grid(PRESETS["tiny"].spacing)
    mask = np.zeros(grid.shape, np.uint8)
    mask[10:20, 10:20, 10:20] = 1
    values = np.random.default_rng(0).uniform(50, 100, mask.shape).astype(np.float32) * mask
    arrays = {"mni_preproc": values, "mni_mask": mask, "harmonized": np.where(mask, (values - 75) / 30, -1)}
    files = {name: root / f"{name}.nii.gz" for name in arrays}
    for name, array in arrays.items():
        nib.save(nib.Nifti1Image(array.astype(np.float32), grid.affine), files[name])
    (root / "qc.json").write_text(json.dumps({"warnings": [], "seconds": {}}))
    (root / "xfm.txt").write_text("transform")
    made = {"device": "cpu", "precision": "32-true", "seconds": 1.0}
    return files | made | {"qc_json": root / "qc.json", "to_mni_xfm": root / "xfm.txt"}


def test_help_loads_none_of_them():
    code, _, loaded = run("--help")
    assert (code, loaded) == (0, [])


def test_a_run_with_nothing_to_do_loads_none_of_them(study):
    code, said, loaded = run(
        *(study / "raw", study / "out", "participant", "--model", study / "model", "-w", study / "work"),
        *("--template", TEMPLATE, "--output-spaces", "MNI", "--skip-bids-validation"),
    )
    assert "1 sessions: 1 done before, 0 to do" in said
    assert (code, loaded) == (0, [])


def test_what_preprocesses_writes_and_reports_loads_no_torch():
    modules = "bids_mmh.participant.workflow, bids_mmh.participant.report, bids_mmh.reports.subject"
    program = f"import sys, {modules}, bids_mmh.preprocess.pipeline; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_a_group_table_loads_no_torch(study):
    code, said, loaded = run(
        study / "raw",
        study / "out",
        "group",
        "--no-evaluation",
        "-w",
        study / "work",
        "--skip-bids-validation",
    )
    assert code == 0, said
    assert "torch" not in loaded
    assert (study / "out" / "group.html").is_file()
