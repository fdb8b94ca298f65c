"""A small study from raw BIDS to the group page, with a model whose weights are random."""

import csv
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_mmh import Harmonizer
from bids_mmh.cli.main import main
from bids_mmh.preprocess.options import PreprocessOptions

SPACE = "space-MNI152NLin2009aSym_res-4"
IMAGES = ("desc-preproc_{s}.nii.gz", "desc-harmonized_{s}.nii.gz", "desc-{b}_mask.nii.gz")
SIDECAR = {"SkullStripped", "Resolution", "Sources", "Site", "ImageStatistics", "ConfigurationHash"}
HARMONIZED = SIDECAR | {
    "Model",
    "AnatomyPreservation",
    "IntensityScaling",
    "Sampling",
    "Device",
    "Precision",
    "RandomSeed",
}


def manifest(subject):
    """Every file that a participant must have."""
    files = {f"{subject}.html"}
    for sequence, brain in (("T1w", "brain"), ("T2w", "brainT2w")):
        for space in ("", f"{SPACE}_"):
            for image in IMAGES:
                name = f"{subject}/anat/{subject}_{space}{image.format(s=sequence, b=brain)}"
                files |= {name, name.replace(".nii.gz", ".json")}
        change = f"{subject}/anat/{subject}_{SPACE}_desc-change_{sequence}"
        files |= {f"{change}.nii.gz", f"{change}.json"}
        files.add(f"{subject}/anat/{subject}_from-{sequence}_to-MNI152NLin2009aSym_mode-image_xfm.txt")
    return files | {f"{subject}/anat/{subject}_from-T2w_to-T1w_mode-image_xfm.txt"}


DATASET = {
    ".bidsignore",
    "README",
    "dataset_description.json",
    "descriptions.json",
    "descriptions.tsv",
    "logs/CITATION.md",
    "participants.tsv",
}


ALONE = ("--nprocs", "1")  # the steps that are left are soon done in this process


def run(study, *options, out="out", model="model"):
    arguments = [str(study / "raw"), str(study / out), "participant", "-w", str(study / "work"), "--sloppy"]
    fixed = ["--template", "MNI152NLin2009aSym", "--nprocs", "2", "--omp-nthreads", "1", "--device", "cpu"]
    return main([*arguments, *fixed, "--model", str(study / model), *options])


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_raw, random_model):
    folder = tmp_path_factory.mktemp("study")
    write_raw(folder / "raw", {"001": ("002", "site01"), "002": ("001", "site02")})
    random_model(folder / "model", 1)
    assert run(folder) == 0
    return folder


def files(folder):
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def content(path):
    return json.loads(path.read_text())


def outputs(study, desc):
    return sorted((study / "out").glob(f"sub-*/anat/*desc-{desc}*.nii.gz"))


def test_exactly_the_expected_files_are_there(study):
    found = {name for name in files(study / "out") if not re.fullmatch(r"logs/\d{8}T.*", name)}
    assert found == DATASET | manifest("sub-001") | manifest("sub-002")
    logs = sorted(path.name.partition("_")[2] for path in (study / "out" / "logs").glob("2*"))
    pid = logs[0].partition(".")[0]
    assert logs == [f"{pid}.log", f"{pid}.toml", f"{pid}_sites.tsv", f"{pid}_summary.tsv"]


def test_sidecars_hold_what_group_and_readers_need(study):
    files = [study / "model" / name for name in ("config.json", "model.safetensors")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    for path in (study / "out").glob(f"sub-*/anat/*{SPACE}_desc-[ph]*_T?w.json"):
        fields = content(path)
        harmonized = "desc-harmonized" in path.name
        assert (HARMONIZED if harmonized else SIDECAR) <= fields.keys()
        assert fields["Site"] == {"sub-001": "site01", "sub-002": "site02"}[path.name[:7]]
        source = fields["Sources"][0]
        dataset, _, name = source.removeprefix("bids:").partition(":")
        assert (study / ("raw" if dataset == "raw" else "out") / name).is_file()
        if harmonized:
            assert fields["Model"]["SHA256"] == digest
            assert fields["Model"]["Target"] == "unified"
            assert -1 <= fields["AnatomyPreservation"] <= 1
            assert fields["Device"] == "cpu"


def test_images_are_what_they_should_be(study):
    for path in outputs(study, "harmonized"):
        image = nib.load(path)
        mni = SPACE in path.name
        mask_name = re.sub(
            r"desc-harmonized_(T.w)", lambda m: f"desc-brain{m[1].replace('T1w', '')}_mask", path.name
        )
        mask = np.asanyarray(nib.load(path.with_name(mask_name)).dataobj)
        values = image.get_fdata()
        assert set(np.unique(mask)) == {0, 1}
        assert 300 < mask.sum() * np.prod(image.header.get_zooms()) / 1000 < 2500  # ml of brain
        assert (values >= 0).all()
        assert (values[mask == 0] == 0).all()
        before = nib.load(str(path).replace("harmonized", "preproc")).get_fdata()
        assert np.corrcoef(before[mask > 0], values[mask > 0])[0, 1] > 0.3
        if mni:
            assert image.shape == (36, 46, 46)
        else:
            raw = nib.load(study / "raw" / path.name[:7] / "anat" / path.name.replace("_desc-harmonized", ""))
            assert image.shape == raw.shape
            np.testing.assert_array_equal(image.affine, raw.affine)


def test_python_gives_what_the_participant_level_writes(study):
    rough = PreprocessOptions(sloppy=True)
    space = "MNI152NLin2009aSym"
    model = Harmonizer.from_pretrained(study / "model", "cpu", template=space, preprocessing=rough)
    anat = study / "out" / "sub-001" / "anat"
    harmonized = model.harmonize(nib.load(study / "raw" / "sub-001" / "anat" / "sub-001_T1w.nii.gz"))
    assert_same(harmonized, nib.load(anat / "sub-001_desc-harmonized_T1w.nii.gz"))
    for sequence, brain in (("T1w", "brain"), ("T2w", "brainT2w")):
        scan = nib.load(anat / f"sub-001_{SPACE}_desc-preproc_{sequence}.nii.gz")
        mask = nib.load(anat / f"sub-001_{SPACE}_desc-{brain}_mask.nii.gz")
        wanted = nib.load(anat / f"sub-001_{SPACE}_desc-harmonized_{sequence}.nii.gz")
        assert_same(model.harmonize(scan, sequence, mask, space="template"), wanted)


def assert_same(found, wanted):
    np.testing.assert_array_equal(found.get_fdata(), wanted.get_fdata())
    assert found.header == wanted.header


def test_the_output_is_valid_bids(study):
    finished = subprocess.run(
        [Path(sys.executable).with_name("bids-validator-deno"), "--json", str(study / "out")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    issues = json.loads(finished.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_pages_open_without_a_network(study):
    for name in ("sub-001.html", "sub-002.html"):
        page = (study / "out" / name).read_text()
        assert "T1w" in page
        assert not re.search(r"""(?:src|xlink:href)=["']https?:|<link[^>]+https?:|url\(["']?https?:""", page)


def test_group_lists_and_compares_the_study(study, monkeypatch):
    monkeypatch.setattr("bids_mmh.group.evaluation.subject_jobs.FINEST", 8.0)  # mm: soon measured
    given = [str(study / "raw"), str(study / "out"), "group", "-w", str(study / "group work"), *ALONE]
    assert main(given) == 0
    for sequence in ("T1w", "T2w"):
        with (study / "out" / f"group_{sequence}_table.tsv").open(newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        assert [row["participant_id"] for row in rows] == ["sub-001", "sub-002"]
        assert [row["site"] for row in rows] == ["site01", "site02"]
    assert "site02" in (study / "out" / "group.html").read_text()
    kinds = ("group", "site_distances", "evaluation")
    tables = [f"{kind}_{sequence}_table" for kind in kinds for sequence in ("T1w", "T2w")]
    for name in [f"{table}.{ending}" for table in tables for ending in ("tsv", "json")]:
        (study / "out" / name).unlink()
    for name in ("group.html", "logs/CITATION_group.md"):
        (study / "out" / name).unlink()


def test_a_second_run_does_only_what_is_missing(study, capfd):
    before = {name: path.stat().st_mtime_ns for name, path in files(study / "out").items()}
    assert run(study) == 0
    assert "2 sessions: 2 done before, 0 to do" in capfd.readouterr().err
    lost = study / "out" / "sub-001" / "anat" / "sub-001_desc-harmonized_T1w.nii.gz"
    content_before = nib.load(lost).get_fdata()
    lost.unlink()
    work = files(study / "work")
    heavy = {
        name: path.stat().st_mtime_ns
        for name, path in work.items()
        if re.search(r"(log_bias|mask|head)\.nrrd$|to_mni\.txt$|/harmonized\.nii\.gz$", name)
    }
    assert len(heavy) == 18
    assert run(study, *ALONE) == 0
    assert "2 sessions: 1 done before, 1 to do" in capfd.readouterr().err
    np.testing.assert_array_equal(nib.load(lost).get_fdata(), content_before)
    assert {name: files(study / "work")[name].stat().st_mtime_ns for name in heavy} == heavy
    after = {name: path.stat().st_mtime_ns for name, path in files(study / "out").items()}
    images = [name for name in before if name.startswith("sub-002")]
    assert {name: after[name] for name in images} == {name: before[name] for name in images}


def test_another_model_makes_new_outputs_from_the_same_preprocessing(study, random_model, capfd):
    random_model(study / "other", 2)
    bias = {path: path.stat().st_mtime_ns for path in (study / "work").rglob("log_bias.nrrd")}
    name = "sub-001/anat/sub-001_desc-harmonized_T1w.nii.gz"
    first = nib.load(study / "out" / name).get_fdata()
    assert run(study, *ALONE, "--participant-label", "001", "--clean-workdir", model="other") == 0
    assert "1 sessions: 0 done before, 1 to do" in capfd.readouterr().err
    assert not np.array_equal(nib.load(study / "out" / name).get_fdata(), first)
    # Only the work files of this participant were removed.
    assert {p.name for p in (study / "work" / "bids_mmh").iterdir() if p.is_dir()} == {"sub_002"}
    assert all(path.stat().st_mtime_ns == time for path, time in bias.items() if path.exists())
