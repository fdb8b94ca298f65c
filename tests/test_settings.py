import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from bids_mmh.settings import Settings, configuration_hash


def settings(**options):
    required = {"bids_dir": "/data/raw", "output_dir": "/data/out", "analysis_level": "participant"}
    return Settings(**required | {"work_dir": "/scratch/work"} | options)


def test_defaults():
    made = settings()
    assert (made.sequences, made.output_spaces) == (("T1w", "T2w"), ("MNI", "native"))
    assert (made.model, made.template, made.device) == (None, "MNI152NLin2009cAsym", "auto")
    assert made.nprocs >= made.omp_nthreads >= 1
    assert made.mem is None


@pytest.mark.parametrize(
    ("text", "gigabytes"),
    [
        ("8g", 8),
        ("8.5G", 8.5),
        ("8000M", 8),
        ("8GiB", 8.589934592),
        ("8", 8),
        (8, 8),
        ("1T", 1000),
        ("8 GB", 8),
    ],
)
def test_memory_takes_units_and_a_bare_number_is_gb(text, gigabytes):
    assert settings(mem=text).mem == pytest.approx(gigabytes)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("mem", "lots"),
        ("mem", "-1g"),
        ("mem", "0"),
        ("device", "gpu"),
        ("device", "cuda:x"),
        ("nprocs", 0),
        ("random_seed", -1),
        ("output_spaces", ["T1w"]),
        ("output_spaces", []),
        ("sequences", []),
        ("participant_label", ["sub_01"]),
        ("analysis_level", "session"),
        ("no_such_option", 1),
        ("work_dir", "/data/raw/work"),
    ],
)
def test_what_makes_no_sense_is_refused(option, value):
    with pytest.raises(ValidationError):
        settings(**{option: value})


def test_labels_lose_their_prefix_and_doubles():
    made = settings(participant_label=["sub-01", "01", "02"], session_label="ses-A")
    assert made.participant_label == ("01", "02")
    assert made.session_label == ("A",)


def test_paths_are_absolute_and_links_are_kept(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    made = settings(bids_dir="link/../link", work_dir="work")
    assert made.bids_dir == tmp_path / "link"
    assert made.work_dir == tmp_path / "work"


def test_a_model_is_a_name_or_an_absolute_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "study"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / "config.json").touch()
    assert settings(model="study").model == "study"  # a folder of that name holds something else
    assert settings(model="mine").model == str(tmp_path / "mine")
    assert settings(model="a/b").model == str(tmp_path / "a" / "b")
    assert settings(model="other").model == "other"


@pytest.mark.parametrize("name", ["embedded", "a/b", "../x", ".hidden", ""])
def test_a_fitted_model_is_a_plain_folder_name(name):
    with pytest.raises(ValidationError):
        settings(fit_name=name)


def test_work_may_lie_under_derivatives():
    made = settings(work_dir="/data/raw/derivatives/x/work")
    assert made.work_dir == Path("/data/raw/derivatives/x/work")


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        settings().nprocs = 3


def test_toml_gives_the_same_settings_back(tmp_path):
    made = settings(
        participant_label=["01"],
        mem="8.5G",
        verbose=2,
        sloppy=True,
        bids_filter_file=tmp_path / 'a "b" \\ é',
    )
    assert Settings(**tomllib.loads(made.to_toml())) == made


@pytest.mark.parametrize(
    "option",
    [
        {"template": "MNI152NLin6Asym"},
        {"sloppy": True},
        {"skull_strip": "force"},
        {"preproc_engine": "freesurfer"},
        {"no_preproc": True},
    ],
)
def test_hash_changes_with_what_alters_preprocessed_scans(option):
    assert settings(**option).preprocessing_hash() != settings().preprocessing_hash()


def test_hash_does_not_change_with_the_rest():
    other = settings(
        output_dir="/x", nprocs=1, verbose=2, debug=True, participant_label=["01"], device="cpu", mem=4
    )
    assert other.preprocessing_hash() == settings().preprocessing_hash()
    assert len(other.preprocessing_hash()) == 8
    assert settings(model="/a/model", preproc_only=True).preprocessing_hash() == other.preprocessing_hash()
    harmonizing = settings(random_seed=1, outside="keep", sequences=["T1w"], derivatives=["a=/b"])
    assert harmonizing.preprocessing_hash() == other.preprocessing_hash()


def test_configuration_is_that_of_the_preprocessing_until_a_model_comes_in():
    assert configuration_hash("12345678", None) == "12345678"
    harmonized = configuration_hash("12345678", "f" * 64)
    assert (
        len({harmonized, configuration_hash("12345678", "e" * 64), configuration_hash("87654321", "f" * 64)})
        == 3
    )
    assert len(harmonized) == 8
    own_voxels = {configuration_hash("12345678", "f" * 64, outside) for outside in ("keep", "zero")}
    assert len(own_voxels | {harmonized}) == 3
