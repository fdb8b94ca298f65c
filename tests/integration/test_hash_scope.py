"""An option redoes the steps whose results it alters, and no others."""

from pathlib import Path

import pytest

from bids_mmh.cli.main import main

# One file of every step that takes long; the images of the last one are copied to the output folder.
STEPS = ("head.nrrd", "mask.nrrd", "log_bias.nrrd", "to_mni.txt", "to_anchor.txt", "qc.json")


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_raw, random_model):
    """A session whose T1w was harmonized alone, before its T2w was."""
    folder = tmp_path_factory.mktemp("scope")
    write_raw(folder / "raw", {"001": ("001", "site01")})
    for seed in (1, 2):
        random_model(folder / f"model{seed}", seed)
    assert run(folder, "--sequences", "T1w") == 0
    return folder


def run(study, *options, model="model1"):
    return main(
        [
            *(str(study / "raw"), str(study / "out"), "participant", "-w", str(study / "work"), "--sloppy"),
            *("--template", "MNI152NLin2009aSym", "--nprocs", "1", "--omp-nthreads", "1", "--device", "cpu"),
            *("--skip-bids-validation", "--preproc-engine", "network"),  # the fastest
            *("--model", str(study / model), *options),
        ]
    )


def times(folder, *names):
    """When each file of some names was last written."""
    return {path: path.stat().st_mtime_ns for name in names for path in Path(folder).rglob(name)}


def changed(before, after):
    return {path.name for path, time in after.items() if before.get(path) != time}


def test_a_sequence_that_comes_later_leaves_the_first_alone(study):
    before = times(study / "work", *STEPS)
    assert {path.parent.name.partition("_")[2] for path in before} == {"t1w1"}
    assert run(study) == 0
    after = times(study / "work", *STEPS)
    assert {path: after[path] for path in before} == before
    assert {path.parent.name.partition("_")[2] for path in after} == {"t1w1", "t2w1"}


@pytest.mark.parametrize(
    "options", [("--random-seed", "1"), ("--sequences", "T1w"), ("--sequences", "T2w", "T1w")]
)
def test_what_alters_no_image_leaves_nothing_to_do(study, capfd, options):
    before = times(study / "out", "*.nii.gz")
    assert run(study, *options) == 0
    assert "1 sessions: 1 done before, 0 to do" in capfd.readouterr().err
    assert times(study / "out", "*.nii.gz") == before


def test_what_lies_outside_the_brain_redoes_neither_preprocessing_nor_model(study, capfd):
    before = times(study / "work", *STEPS, "harmonized.nii.gz")
    assert run(study, "--outside", "keep") == 0
    assert "0 done before, 1 to do" in capfd.readouterr().err
    assert times(study / "work", *STEPS, "harmonized.nii.gz") == before
    assert run(study, "--outside", "keep", "--output-spaces", "MNI") == 0
    assert "1 done before, 0 to do" in capfd.readouterr().err


def test_another_model_redoes_no_preprocessing(study):
    before, harmonized = times(study / "work", *STEPS), times(study / "work", "harmonized.nii.gz")
    assert run(study, model="model2") == 0
    assert times(study / "work", *STEPS) == before
    assert len(changed(harmonized, times(study / "work", "harmonized.nii.gz"))) == 1


def test_a_t2w_without_its_t1w_is_another_preprocessing(study, capfd):
    t2w = next((study / "raw").rglob("*_T2w.nii.gz"))
    t1w = t2w.with_name(t2w.name.replace("T2w", "T1w"))
    content = t1w.read_bytes()
    t1w.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # another file in its place
    assert run(study, "--sequences", "T2w") == 0
    assert "0 done before, 1 to do" in capfd.readouterr().err
