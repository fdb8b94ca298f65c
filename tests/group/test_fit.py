"""Fitting a model to a study by the command line, on derivatives of 8 mm."""

import csv
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from bids_mmh.cli.main import main
from bids_mmh.derivatives.fit_record import FitRecord
from bids_mmh.derivatives.index import study_rows
from bids_mmh.derivatives.models import resolve_model
from bids_mmh.derivatives.splits import trained_subjects
from bids_mmh.errors import UsageError
from bids_mmh.method.encoder.style_network import StyleNetwork, StyleNetworkConfig, save_style_network
from bids_mmh.method.harmonizer import read_config
from bids_mmh.training.data import scans as training_scans
from bids_mmh.training.recipe import load_recipe

pytestmark = pytest.mark.usefixtures("no_pictures", "no_session_pages")

RECIPE = """
[model]
preset = "tiny"
spacing = 8.0
inversion_steps = 2
sampling_steps = 2
bins = 20

[training]
max_timestep = 200
validate_every = 2

[[phase]]
spacing = 8.0
steps = 2
accumulate = 1

[stage2]
encoder = "{encoder}"
steps = 1
aggregator_steps = 1
accumulate = 1
backprop_steps = 1
slices = 2
guard_scans = 4
validate_every = 1
"""


@pytest.fixture
def recipe(tmp_path):
    network = StyleNetworkConfig(name="small", size=16, dim=16, tones=4, widths=(8, 8))
    save_style_network(StyleNetwork(network), tmp_path / "encoder")
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(encoder=tmp_path / "encoder"))
    return path


@pytest.fixture
def group(study, recipe, tmp_path):
    """Run the group level on the study; returns the exit code."""

    def run(*options, evaluation=False):
        given = [str(tmp_path / "raw"), str(study), "group", "--device", "cpu", "--nprocs", "1"]
        given += ["--work-dir", str(tmp_path / "work")]
        return main([*given, *([] if evaluation else ["--no-evaluation"]), *map(str, options)])

    return run


def split_of(folder):
    with (folder / "training" / "split.tsv").open(newline="") as stream:
        return {row["participant_id"]: row["split"] for row in csv.DictReader(stream, delimiter="\t")}


def sidecars(study):
    return {
        path.name.split("_space")[0]: json.loads(path.read_text())
        for path in study.glob("sub-*/ses-*/anat/*_space-*_desc-harmonized_T1w.json")
    }


def test_fit_all_fits_both_stages_and_harmonizes_everybody(group, study, recipe, monkeypatch):
    opened = set()
    read = training_scans.load_on_grid
    monkeypatch.setattr(
        "bids_mmh.training.data.volume_cache.load_on_grid",
        lambda scan, shape: opened.add(scan.subject) or read(scan, shape),
    )
    assert group("--fit", "all", "--recipe", recipe, "--target-site", "b") == 0
    folder = study / "models" / "study"
    config = read_config(folder)
    assert (config.name, config.target.site, config.sequences) == ("study", "b", ("T1w",))
    assert read_config(folder / "stage1").target is None
    parts = split_of(folder)
    assert parts["sub-20"] == "test"  # who was at both sites
    assert sorted(set(parts.values())) == ["test", "train", "validation"]
    # the images of those who test are never opened in the training, and everybody else's are not evaluated
    seen = {subject for subject, part in parts.items() if part != "test"}
    assert opened == seen
    assert set(trained_subjects(study, study_rows(study, ("T1w",))).parts) == seen
    model = resolve_model("study", study)
    done = sidecars(study)
    assert len(done) == 10
    assert {fields["Model"]["SHA256"] for fields in done.values()} == {model.sha256}
    card = (folder / "README.md").read_text()
    assert "fitted" in card.lower()
    # a model of three steps is no better than the same networks without them, or says by how much it is
    assert re.search(
        r"- T1w, \d validation scans: distance to the target's histogram 0\.\d+ fine-tuned", card
    )
    with (folder / "training" / "target_sites.tsv").open(newline="") as stream:
        ranking = list(csv.DictReader(stream, delimiter="\t"))
    assert {row["site"]: row["target"] for row in ranking} == {"a": "no", "b": "yes"}


def test_a_grown_study_keeps_its_model_and_harmonizes_the_newcomers_only(
    group, study, recipe, write_visit, capsys
):
    group("--fit", "all", "--recipe", recipe)
    model = resolve_model("study", study).sha256
    before = {path: path.stat().st_mtime_ns for path in study.glob("sub-*/ses-*/anat/*harmonized*.nii.gz")}
    write_visit(study, "30", "c")
    capsys.readouterr()
    assert group() == 0
    assert "1 of 11 T1w scans are not harmonized: run group with --model" in capsys.readouterr().err
    assert group("--fit", "all", "--recipe", recipe) == 0
    text = capsys.readouterr().err
    assert "fitted before and is kept" in text
    assert "fitted without 1 subjects that came later" in text
    assert resolve_model("study", study).sha256 == model
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert sidecars(study)["sub-30_ses-c"]["Model"]["SHA256"] == model
    # by its name alone it does the same
    write_visit(study, "31", "c")
    assert group("--model", "study") == 0
    assert len(sidecars(study)) == 12


def test_a_new_target_from_a_stage_1_model_is_one_command(group, study, recipe, capsys):
    assert group("--fit", "stage1", "--fit-name", "base", "--recipe", recipe) == 0
    assert {fields["Model"]["Target"] for fields in sidecars(study).values()} == {"unified"}
    for site in ("a", "b"):
        options = ["--fit", "stage2", "--model", "base", "--target-site", site, "--fit-name", f"to-{site}"]
        assert group(*options, "--recipe", recipe) == 0
        assert {fields["Model"]["Target"] for fields in sidecars(study).values()} == {site}
        assert split_of(study / "models" / f"to-{site}") == split_of(study / "models" / "base")
    # Stage II of the same name goes on from its own Stage I
    assert group("--fit", "all", "--fit-name", "base", "--recipe", recipe, "--target-site", "a") == 0
    assert read_config(study / "models" / "base").target.site == "a"
    capsys.readouterr()
    assert group("--fit", "all", "--fit-name", "base", "--target-site", "b") == 64
    assert (
        "There is a model base already, fitted to the site a with another --target-site"
        in capsys.readouterr().err
    )


def test_stage_1_may_begin_with_a_model_and_the_split_with_a_table(group, study, recipe, tmp_path, capsys):
    table = tmp_path / "mine.tsv"
    subjects = [f"sub-{label}" for label in ("01", "02", "03", "04", "11", "12", "13", "14")]
    rows = [f"{who}\t{'validation' if who == 'sub-04' else 'train'}\n" for who in subjects]
    table.write_text("participant_id\tsplit\n" + "".join(rows) + "sub-20\ttrain\n")
    given = ["--fit", "stage1", "--recipe", recipe, "--split", table]
    assert group(*given) == 64
    assert "sub-20 was scanned at several sites and belongs to 'test'" in capsys.readouterr().err
    table.write_text(table.read_text().replace("sub-20\ttrain", "sub-20\ttest"))
    assert group(*given, "--model", "embedded", "--sequences", "T1w", "T2w") == 0
    folder = study / "models" / "study"
    assert list(split_of(folder).values()).count("train") == 7
    config = read_config(folder)
    assert (config.spacing, config.network) == (8.0, read_config(resolve_model("embedded").folder).network)
    assert "the model embedded" in (folder / "README.md").read_text()


def said(group, capsys, *options):
    capsys.readouterr()
    return group(*options), capsys.readouterr().err


@pytest.mark.parametrize(
    ("sites", "options", "code", "sentence"),
    [
        (
            {"a": 3},
            ["--fit", "all"],
            66,
            "The scans come from a: Stage II takes scans of one site to",
        ),
        ({"a": 1, "b": 1, "c": 1}, ["--fit", "all"], 66, "No site has 3 scans of every sequence"),
        ({"a": 3, "b": 3}, ["--fit", "all", "--target-site", "A"], 64, "the sites are: a, b"),
        ({"a": 3, "b": 3}, ["--fit", "stage2", "--target-site", "none"], 64, "rules that out"),
        ({None: 3}, ["--fit", "all"], 66, "The scans have no site"),
        ({"a": 3, "b": 3}, ["--fit", "all", "--recipe", "nowhere.toml"], 66, "nowhere.toml cannot be read"),
        ({"a": 3, "b": 3}, ["--fit", "all", "--split", "nowhere.tsv"], 66, "nowhere.tsv cannot be read"),
    ],
)
def test_studies_that_cannot_be_fitted_to_get_a_sentence(
    tmp_path, write_visit, recipe, capsys, sites, options, code, sentence
):
    for site, subjects in sites.items():
        for number in range(subjects):
            write_visit(tmp_path / "out", f"{site or 'n'}{number}", site)
    given = [str(tmp_path / "raw"), str(tmp_path / "out"), "group", "--device", "cpu", "--no-evaluation"]
    if "--recipe" not in options:
        options = [*options, "--recipe", str(recipe)]
    assert main([*given, "--work-dir", str(tmp_path / "work"), *options]) == code
    text = capsys.readouterr().err
    assert sentence in text
    assert "Traceback" not in text
    assert not (tmp_path / "out" / "models" / "study" / "config.json").exists()


def test_a_target_needs_every_sequence_of_the_study(group, study, recipe, write_visit, capsys):
    write_visit(study, "30", "c", sequences=("T1w", "T2w"))
    assert group("--fit", "all", "--recipe", recipe, "--target-site", "a") == 66
    text = capsys.readouterr().err
    assert "The target site a has no T2w scan for others to be like" in text
    assert "or --sequences T1w." in text


@pytest.mark.parametrize(("kind", "spacing"), [("cpu", 2.0), ("gpu", 1.0)])
def test_the_default_recipes_are_in_the_package(kind, spacing):
    recipe = load_recipe(Path(str(files("bids_mmh.resources"))) / "recipes" / f"{kind}.toml")
    assert recipe.model.spacing == recipe.phases[-1].spacing == spacing
    assert recipe.stage2 is not None
    assert recipe.travelling == "test"
    assert recipe.max_timestep >= recipe.model.depth


def test_a_record_answers_what_it_was_made_for():
    made = FitRecord("all", "b", "s", "r", "t")
    assert made.answers(FitRecord("all", "auto"), "m")
    assert made.answers(FitRecord("stage2", "b", "s", "r", "t"), "m")
    assert not FitRecord("stage1", "none").answers(FitRecord("all", "b", "other model"), "m")
    for other, option in (
        (FitRecord("all", "a"), "--target-site"),
        (FitRecord("all", "b", "x"), "--model"),
        (FitRecord("all", "b", None, "x"), "--recipe"),
        (FitRecord("all", "b", None, None, "x"), "--split"),
    ):
        with pytest.raises(UsageError, match=f"fitted to the site b with another {option}: choose another"):
            made.answers(other, "m")
