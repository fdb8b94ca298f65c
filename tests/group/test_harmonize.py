"""The scans of a study through a model, from derivatives alone."""

import json
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_mmh.bids.session import Scan
from bids_mmh.derivatives.index import find_preprocessed, study_rows
from bids_mmh.derivatives.jobs import ScanJob
from bids_mmh.derivatives.models import resolve_model
from bids_mmh.errors import ExitCode, UsageError
from bids_mmh.group.harmonize import cores, harmonize_study
from bids_mmh.method.config import PRESETS
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.precision import precision_name
from bids_mmh.runtime.processes import Process
from bids_mmh.training.data.scans import find_scans
from bids_mmh.training.recipe import model_on_grid

pytestmark = pytest.mark.usefixtures("no_pictures")


def save_model(folder, spacing=8.0, **changes):
    torch.manual_seed(0)
    config = replace(model_on_grid(PRESETS["tiny"], spacing), inversion_steps=2, sampling_steps=2, **changes)
    model = Harmonizer(config)
    for index in range(len(config.sequences)):
        model.records.mean[index], model.records.std[index] = 0.1, 0.4
    model.save_pretrained(folder)
    return resolve_model(str(folder))


@pytest.fixture
def four_visits(tmp_path, write_visit):
    for subject, site in (("01", "a"), ("02", "a"), ("01", "b"), ("03", "b")):
        write_visit(tmp_path / "out", subject, site)
    return tmp_path / "out"


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "model")


def harmonize(settings, model):
    rows = study_rows(settings.output_dir, settings.sequences)
    return harmonize_study(settings, model, find_preprocessed(settings.output_dir, rows), Process())


def fields_of(path):
    return json.loads(path.read_text())


def test_outputs_are_those_of_the_participant_level(tmp_path, write_visit, group_settings, model):
    write_visit(tmp_path / "out", "01", "a", sequences=("T1w", "T2w"))
    settings = group_settings(tmp_path / "out")
    assert harmonize(settings, model) == []
    anat = tmp_path / "out" / "sub-01" / "ses-a" / "anat"
    stem = "sub-01_ses-a_space-MNI152NLin2009aSym_res-8_desc"
    for sequence in ("T1w", "T2w"):
        before, after = (fields_of(anat / f"{stem}-{d}_{sequence}.json") for d in ("preproc", "harmonized"))
        assert after["Model"] == model.provenance.model_dump(by_alias=True)
        assert after["Sources"] == [f"bids::sub-01/ses-a/anat/{stem}-preproc_{sequence}.nii.gz"]
        assert set(after["ImageStatistics"]) == {"before", "after"}
        assert after["ConfigurationHash"] != before["ConfigurationHash"]
        assert (after["Device"], after["Precision"]) == ("cpu", precision_name(torch.device("cpu")))
        image = nib.load(anat / f"{stem}-harmonized_{sequence}.nii.gz")
        brain = nib.load(anat / before["BrainMask"]).get_fdata() > 0
        assert (image.get_fdata()[brain] > 0).all()
        native = fields_of(anat / f"sub-01_ses-a_desc-harmonized_{sequence}.json")
        assert native["SpatialReference"] == f"bids:raw:sub-01/anat/sub-01_ses-a_{sequence}.nii.gz"
        assert (anat / f"sub-01_ses-a_desc-harmonized_{sequence}.nii.gz").is_file()
    page = (tmp_path / "out" / "sub-01_ses-a.html").read_text()
    assert "sub-01_ses-a_T2w.nii.gz" in page
    assert model.sha256[:8] in page
    assert not list((tmp_path / "out" / "logs").glob(".*.lock"))


def test_participant_finds_done_what_group_has_harmonized(
    tmp_path, write_visit, group_settings, model, no_session_pages
):
    write_visit(tmp_path / "out", "01", "a", sequences=("T1w", "T2w"))
    settings = group_settings(tmp_path / "out")
    harmonize(settings, model)
    raw = {s: settings.bids_dir / "sub-01" / "anat" / f"sub-01_ses-a_{s}.nii.gz" for s in ("T1w", "T2w")}
    scans = {s: Scan(raw[s], s, {"subject": "01", "session": "a"}, "a") for s in raw}

    def is_done(sequence, **options):
        own = group_settings(tmp_path / "out", analysis_level="participant", **options)
        return ScanJob(scans[sequence], scans["T1w"], "MNI152NLin2009aSym", 8.0, own, model).is_done()

    assert is_done("T1w")
    assert is_done("T2w")
    assert is_done("T1w", random_seed=1)
    assert not is_done("T1w", sloppy=True)
    assert not is_done("T1w", outside="keep")
    assert is_done("T1w", outside="keep", output_spaces=("MNI",))
    moved = replace(scans["T1w"], site="b")
    assert not ScanJob(moved, moved, "MNI152NLin2009aSym", 8.0, settings, model).is_done()


def test_only_what_is_not_harmonized_with_this_model_is_done(
    four_visits, group_settings, model, tmp_path, caplog, no_session_pages
):
    settings = group_settings(four_visits)
    harmonize(settings, model)
    harmonized = sorted(four_visits.glob("sub-*/ses-*/anat/*_space-*_desc-harmonized_T1w.nii.gz"))
    assert len(harmonized) == 4
    before = [file.stat().st_mtime_ns for file in harmonized]
    harmonized[2].unlink()
    with caplog.at_level("INFO", "bids_mmh"):
        harmonize(settings, model)
    after = [file.stat().st_mtime_ns for file in harmonized]
    assert [place for place, times in enumerate(zip(before, after, strict=True)) if len(set(times)) > 1] == [
        2
    ]
    assert "1 of 4 sessions to harmonize" in caplog.text
    other = save_model(tmp_path / "other", depth=90)
    harmonize(settings, other)
    sidecars = [fields_of(file.with_suffix("").with_suffix(".json")) for file in harmonized]
    assert {fields["Model"]["SHA256"] for fields in sidecars} == {other.sha256}


@pytest.mark.parametrize(
    ("nprocs", "device", "local_count", "shares"),
    [
        (1, "cpu", 1, (1, 0)),
        (2, "cpu", 1, (1, 1)),
        (8, "cpu", 1, (6, 2)),
        (8, "cuda:0", 1, (1, 7)),
        (8, "cuda:1", 4, (1, 1)),
        (2, "cpu", 4, (1, 0)),
    ],
)
def test_cores_go_to_the_model_on_a_cpu_and_to_writing_beside_a_gpu(
    tmp_path, group_settings, nprocs, device, local_count, shares
):
    settings = group_settings(tmp_path, nprocs=nprocs, omp_nthreads=8)
    assert cores(settings, device, Process(local_count=local_count)) == shares


def test_weights_are_loaded_once(four_visits, group_settings, model, monkeypatch, no_session_pages):
    loads = []
    load = Harmonizer.from_pretrained.__func__
    monkeypatch.setattr(
        Harmonizer,
        "from_pretrained",
        classmethod(lambda cls, *given: loads.append(given) or load(cls, *given)),
    )
    harmonize(group_settings(four_visits), model)
    assert len(loads) == 1


def test_writers_of_their_own_leave_the_same(tmp_path, write_visit, group_settings, model):
    write_visit(tmp_path / "out", "01", "a")
    assert harmonize(group_settings(tmp_path / "out", nprocs=2), model) == []
    assert len(list((tmp_path / "out").glob("sub-*/ses-*/anat/*_desc-harmonized_T1w.json"))) == 2
    assert (tmp_path / "out" / "sub-01_ses-a.html").is_file()
    assert not list((tmp_path / "out" / "logs").glob(".*.lock"))


def test_without_native_derivatives_there_are_no_native_outputs(
    tmp_path, write_visit, group_settings, model, no_session_pages
):
    write_visit(tmp_path / "out", "01", "a", native=False, sessions=False)
    assert harmonize(group_settings(tmp_path / "out"), model) == []
    names = {path.name for path in (tmp_path / "out" / "sub-01" / "anat").glob("*harmonized*.nii.gz")}
    assert names == {"sub-01_space-MNI152NLin2009aSym_res-8_desc-harmonized_T1w.nii.gz"}


def test_a_coarser_model_gets_averaged_scans(tmp_path, write_visit, group_settings, no_session_pages):
    write_visit(tmp_path / "out", "01", "a", sequences=("T1w", "T2w"), spacing=4.0)
    coarse = save_model(tmp_path / "coarse", spacing=8.0)
    assert harmonize(group_settings(tmp_path / "out"), coarse) == []
    anat = tmp_path / "out" / "sub-01" / "ses-a" / "anat"
    for sequence in ("T1w", "T2w"):
        stem = "sub-01_ses-a_space-MNI152NLin2009aSym_res"
        fine, averaged, after = (
            anat / f"{stem}-{which}_{sequence}.json"
            for which in ("4_desc-preproc", "8_desc-preproc", "8_desc-harmonized")
        )
        assert nib.load(after.with_suffix(".nii.gz")).shape == (18, 23, 23)
        assert fields_of(averaged)["Preprocessing"]["averaged_from"] == fine.with_suffix(".nii.gz").name
        assert fields_of(averaged)["ConfigurationHash"] == fields_of(fine)["ConfigurationHash"]
        assert (anat / f"sub-01_ses-a_desc-harmonized_{sequence}.nii.gz").is_file()
    # the model of another grid takes the place of what was harmonized before
    same = save_model(tmp_path / "same", spacing=4.0)
    assert harmonize(group_settings(tmp_path / "out"), same) == []
    images = anat.glob("*_space-*_desc-harmonized_*.nii.gz")
    assert {path.name.split("_")[3] for path in images} == {"res-4"}
    assert len(list(anat.glob("*_space-*_desc-harmonized_*.json"))) == 2
    found = find_scans([tmp_path / "out"], ("T1w", "T2w"))
    assert [scan.image.name.split("_")[3] for scan in found] == ["res-4", "res-4"]
    with pytest.raises(
        UsageError, match=r"works on voxels of 2 mm, but those of .* are 4 mm: run participant"
    ):
        harmonize(group_settings(tmp_path / "out"), save_model(tmp_path / "finer", spacing=2.0))


def test_a_broken_scan_does_not_stop_the_others(four_visits, group_settings, model, caplog, no_session_pages):
    (broken,) = four_visits.glob("sub-02/ses-a/anat/*_res-8_desc-brain_mask.nii.gz")
    image = nib.load(broken)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), broken)
    (failed,) = harmonize(group_settings(four_visits), model)
    assert failed.code is ExitCode.DATA
    assert len(list(four_visits.glob("sub-*/ses-*/anat/*_space-*_desc-harmonized_T1w.json"))) == 3
    (sentence,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert sentence.startswith("sub-02_ses-a: ")


def test_a_sequence_that_the_model_does_not_know(tmp_path, write_visit, group_settings):
    write_visit(tmp_path / "out", "01", "a", sequences=("T1w", "T2w"))
    model = save_model(tmp_path / "model", sequences=("T1w",))
    with pytest.raises(UsageError, match="does not know T2w: choose another --model, or --sequences T1w"):
        harmonize(group_settings(tmp_path / "out"), model)


# The program, with pages that take no time, in two processes that share one import of the libraries.
PROGRAM = """
import os
import sys
from pathlib import Path

import bids_mmh.group.harmonize
import bids_mmh.group.run
from bids_mmh.cli.main import main
from bids_mmh.group import jobs as derived_jobs
from bids_mmh.participant import report as session_page
from bids_mmh.preprocess.template import Template
from torch.multiprocessing import start_processes

derived_jobs.find_template = lambda *_: Template("MNI152NLin2009aSym", Path("a"), Path("b"), "")
session_page.write_session_page = lambda job: job.page.write_text("page")


def as_rank(rank, said, *arguments):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.dup2(os.open(f"{said}{rank}", os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
    sys.exit(main(arguments))


start_processes(as_rank, tuple(sys.argv[1:]), nprocs=2, start_method="fork")
"""


def test_two_processes_as_torchrun_starts_them_share_the_scans(four_visits, model, tmp_path):
    """Each says what it harmonized; the second one leaves the report to the first."""
    options = ["group", "--model", str(model.folder), "--no-evaluation", "--device", "cpu", "--nprocs", "1"]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "said"), str(tmp_path / "raw"), str(four_visits)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    texts = [(tmp_path / f"said{rank}").read_text() for rank in range(2)]
    lines = [line for text in texts for line in text.splitlines() if ": harmonized (" in line]
    assert len({line.split(":")[1] for line in lines}) == len(lines) == 4
    assert "group.html" in texts[0]
    assert "group.html" not in texts[1]
    assert (four_visits / "group.html").is_file()
