import csv
import json
import logging
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from bids_mmh.derivatives.index import study_rows
from bids_mmh.derivatives.outputs import OUTPUTS
from bids_mmh.derivatives.sidecar import Encoder, ImageStatistics, Model, Sidecar
from bids_mmh.errors import ExitCode, NoInputError, NoMatchError, UsageError
from bids_mmh.evaluation.metrics.statistics import image_statistics
from bids_mmh.group.run import run_group
from bids_mmh.group.site_comparison import compare_sites
from bids_mmh.group.warnings import common_ground_warnings
from bids_mmh.participant.run import run_participant
from bids_mmh.settings import Settings

SPACE = "MNI152NLin2009cAsym"
pytestmark = pytest.mark.usefixtures("no_pictures")


def _statistics(mean):
    return image_statistics(np.random.default_rng(0).normal(mean, 0.1, 500)).to_dict()


def _sidecar(site, before, after=None, **fields):
    statistics = {"before": _statistics(before)} | ({} if after is None else {"after": _statistics(after)})
    given = {
        "site": site,
        "sequence": "T1w",
        "image_statistics": ImageStatistics(**statistics),
        "anatomy_preservation": 0.98,
        "model": Model(name="embedded", sha256="a" * 64, target="Y", encoder=Encoder(name="slices")),
        "quality_warnings": (),
        "configuration_hash": "c0ffee",
    }
    return Sidecar(**given | fields)


def _write(root, subject, fields, *, sequence="T1w", desc="harmonized", space=SPACE, **entities):
    """Write a sidecar as the participant level does; what is no :class:`Sidecar` is written as it is."""
    output = f"mni_{desc}"
    entities = {"subject": subject, **entities}
    image = OUTPUTS[output].path(root, entities, sequence=sequence, space=space, res="1")
    path = image.with_suffix("").with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(fields, Sidecar):
        return fields.write(path, output)
    path.write_text(fields if isinstance(fields, str) else json.dumps(fields))
    return path


def _settings(root, **changes):
    given = {"bids_dir": "/raw", "output_dir": root, "analysis_level": "group", "no_evaluation": True}
    return Settings(**{**given, **changes})


def _table(root, sequence="T1w"):
    with (root / f"group_{sequence}_table.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.fixture
def study(tmp_path):
    """Two sites of two scans each, far apart before and equal after."""
    for number, (site, before) in enumerate([("A", -0.3), ("A", -0.28), ("B", 0.3), ("B", 0.32)]):
        _write(tmp_path, str(number), _sidecar(site, before, 0.0), session="x")
    return tmp_path


def test_tables_and_page_are_written(study):
    (study / "sub-0_ses-x.html").write_text("page")
    assert run_group(_settings(study)) is ExitCode.OK
    rows = _table(study)
    assert [row["participant_id"] for row in rows] == ["sub-0", "sub-1", "sub-2", "sub-3"]
    assert rows[0]["session_id"] == "ses-x"
    assert rows[0]["scan"] == "sub-0_ses-x_T1w"
    assert rows[0]["site"] == "A"
    assert float(rows[0]["mean_before"]) == pytest.approx(-0.3, abs=0.02)
    assert float(rows[0]["mean_after"]) == pytest.approx(0.0, abs=0.02)
    # A shift by 0.3 is 0.15 of the range of two.
    assert float(rows[0]["histogram_distance"]) == pytest.approx(0.15, abs=0.005)
    assert rows[0]["problem"] == "n/a"
    assert list(json.loads((study / "group_T1w_table.json").read_text())) == list(rows[0])
    page = (study / "group.html").read_text()
    assert "sub-0_ses-x.html" in page
    assert "sub-1_ses-x.html" not in page
    assert not (study / "group_T2w_table.tsv").exists()


def test_distances_between_sites_fall(study):
    comparison = compare_sites(study_rows(study, ("T1w",)))
    assert comparison.inter_site[0] == pytest.approx(0.3, abs=0.01)
    assert comparison.inter_site[1] == pytest.approx(0.0, abs=1e-6)
    assert comparison.intra_site[0] == pytest.approx(0.01, abs=0.002)


def test_preprocessed_scans_are_listed_and_give_way_to_harmonized_ones(study):
    _write(study, "0", _sidecar("A", 0.1), desc="preproc", session="x")
    _write(study, "9", _sidecar("A", 0.1), desc="preproc")
    assert run_group(_settings(study)) is ExitCode.OK
    rows = {row["scan"]: row for row in _table(study)}
    assert len(rows) == 5
    assert rows["sub-0_ses-x_T1w"]["state"] == "harmonized"
    assert rows["sub-9_T1w"]["state"] == "preprocessed"
    assert rows["sub-9_T1w"]["mean_after"] == rows["sub-9_T1w"]["session_id"] == "n/a"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"Site": "A", "ImageSt', "no readable JSON"),
        ("[1, 2]", "no JSON object"),
        ({"Site": "A"}, "no ImageStatistics 'before'"),
        (_sidecar("A", 0.1), "no ImageStatistics 'after'"),
        ({"ImageStatistics": {"before": {"mean": 1}}}, "finite number"),
        (_sidecar("A", 40.0, 0.1), "no voxel of ImageStatistics 'before'"),
    ],
)
def test_unusable_sidecar_is_listed_and_everything_else_written(study, content, reason):
    _write(study, "7", content)
    assert run_group(_settings(study)) is ExitCode.DATA
    rows = _table(study)
    assert len(rows) == 5
    assert reason in rows[-1]["problem"]
    assert "sub-7" in rows[-1]["problem"]
    assert "desc-harmonized_T1w.json cannot be used (" in (study / "group.html").read_text()


def test_own_spaces_and_hidden_files_are_left_out(study):
    native = OUTPUTS["native_harmonized"].path(study, {"subject": "0", "session": "x"}, sequence="T1w")
    _sidecar("A", 0.1, 0.1).write(native.with_suffix("").with_suffix(".json"), "native_harmonized")
    written = _write(study, "0", _sidecar("A", 0.1, 0.1), space="T1w", session="x")
    written.with_name(f".1f.{written.name}").write_text("{")
    assert len(study_rows(study, ("T1w",))) == 4


def test_filters_are_honoured(study):
    _write(study, "0", _sidecar("A", 0.1, 0.1), session="y")
    run_group(_settings(study, participant_label=("sub-0", "2")))
    assert [row["scan"] for row in _table(study)] == ["sub-0_ses-x_T1w", "sub-0_ses-y_T1w", "sub-2_ses-x_T1w"]
    run_group(_settings(study, session_label=("y",)))
    assert [row["scan"] for row in _table(study)] == ["sub-0_ses-y_T1w"]
    with pytest.raises(NoMatchError, match="labels and the filter"):
        run_group(_settings(study, participant_label=("99",)))


def test_options_of_training_need_a_fit(study):
    with pytest.raises(UsageError, match="give --fit too"):
        run_group(_settings(study, recipe="r.toml"))
    with pytest.raises(UsageError, match="give it to the group level"):
        run_participant(_settings(study, fit="all", analysis_level="participant"))


def test_nothing_to_read_asks_for_the_participant_level(tmp_path):
    with pytest.raises(NoInputError, match="participant level first"):
        run_group(_settings(tmp_path / "missing"))


def test_mixtures_are_never_silent(study, caplog):
    other = _sidecar("A", 0.1, 0.1, model=Model(name="x", sha256="b" * 64), configuration_hash="other")
    _write(study, "8", other, space="MNI152NLin6Asym")
    with caplog.at_level(logging.WARNING, "bids_mmh"):
        run_group(_settings(study))
    page = (study / "group.html").read_text()
    for text in ("lie in 2 spaces", "harmonized by 2 models", "made with 2 configurations"):
        assert text in caplog.text
        assert text in page
    # Each space is a part of its own, so the lone scan has nobody to be compared with.
    assert "5 scans" in page
    assert "1 scan in MNI152NLin6Asym" in page
    assert "come from A: there is nothing to compare" in page


def test_scans_of_one_kind_raise_no_warning(study):
    assert common_ground_warnings(study_rows(study, ("T1w",))) == []


def test_unknown_sites_are_not_compared(tmp_path):
    for number, site in enumerate(["A", None]):
        _write(tmp_path, str(number), _sidecar(site, 0.1 * number, 0.0))
    rows = study_rows(tmp_path, ("T1w",))
    assert compare_sites(rows) is None
    assert run_group(_settings(tmp_path)) is ExitCode.OK
    assert [row["site"] for row in _table(tmp_path)] == ["A", "n/a"]


def test_only_scans_with_both_images_are_compared(study):
    _write(study, "9", _sidecar("A", 0.9), desc="preproc")
    comparison = compare_sites(study_rows(study, ("T1w",)))
    assert comparison.inter_site[0] == pytest.approx(0.3, abs=0.01)


def test_tables_of_an_earlier_run_do_not_stay(study):
    _write(study, "0", _sidecar("A", 0.1, 0.1), sequence="T2w")
    run_group(_settings(study))
    assert (study / "group_T2w_table.tsv").is_file()
    run_group(_settings(study, sequences=("T1w",)))
    assert sorted(path.name for path in study.glob("group_*")) == [
        "group_T1w_table.json",
        "group_T1w_table.tsv",
    ]


@pytest.mark.parametrize("derivatives", [False, True])
def test_pybids_opens_the_study_and_its_tables_are_no_sidecars(study, derivatives):
    from bids import BIDSLayout

    (study / "group_T1w.json").write_text('{"space": {"Description": "of an earlier version"}}')
    (study / "group_T1w.tsv").touch()
    for path in study.glob("sub-*/**/*.json"):
        path.with_suffix(".nii.gz").touch()
    run_group(_settings(study))
    (study / "dataset_description.json").write_text(
        '{"Name": "x", "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": [{"Name": "x"}]}'
    )
    layout = BIDSLayout(study, validate=False, is_derivative=derivatives)
    images = layout.get(suffix="T1w", extension=".nii.gz")
    assert images
    for image in images:
        assert image.get_metadata() == json.loads(Path(image.path.replace(".nii.gz", ".json")).read_text())


def test_a_subset_says_that_it_is_one(study, caplog):
    run_group(_settings(study))
    assert "subset" not in (study / "group.html").read_text()
    run_group(_settings(study, participant_label=("2",)))
    for text in (caplog.text, (study / "group.html").read_text()):
        assert "This is a subset: 1 of 4 scans" in text


def test_the_filter_file_chooses_by_sequence_and_entity(study, tmp_path):
    for run in ("1", "2"):
        _write(study, "0", _sidecar("A", 0.1, 0.1), session="x", acquisition="fast", run=run)
    _write(study, "0", _sidecar("A", 0.1, 0.1), sequence="T2w", session="x")
    filters = tmp_path / "filter.json"
    filters.write_text('{"t1w": {"acquisition": "fast", "run": [1]}}')
    run_group(_settings(study, bids_filter_file=filters))
    assert [row["scan"] for row in _table(study)] == ["sub-0_ses-x_acq-fast_run-1_T1w"]
    assert len(_table(study, "T2w")) == 1
    filters.write_text('{"t1w": {"acquisition": "slow"}, "t2w": {"session": "y"}}')
    with pytest.raises(NoMatchError, match="--bids-filter-file"):
        run_group(_settings(study, bids_filter_file=filters))


def test_the_ranking_of_sites_is_on_the_page_and_marks_what_the_scans_were_harmonized_to(study):
    for number, value in ((5, 0.31), (6, 0.33)):
        model = Model(name="m", sha256="a" * 64, target="B")
        _write(study, str(number), _sidecar("B", value, 0.0, model=model))
    run_group(_settings(study, min_site_scans=2))
    page = (study / "group.html").read_text()
    assert "Choice of the target site (it needs 2 scans of every sequence)" in page
    assert run_group(_settings(study, target_site="A")) is ExitCode.OK
    with pytest.raises(UsageError, match="no scan is from the site 'C'; the sites are: A, B"):
        run_group(_settings(study, target_site="C"))


@pytest.mark.parametrize(
    ("sites", "sentence"),
    [
        (["A", "A", "A"], "All 3 scans come from A: there is nothing to harmonize within one site."),
        (["A", "B", "C"], "Each of the 3 sites has one subject"),
        (["A 1", "A 1", "a_1", "a_1"], "differ only in case, spaces or punctuation"),
        (["North", "North", "Nort", "South", "South"], "'Nort' is the site of one subject"),
        (["A", "A", "B", "B", None], "1 of 5 scans have no site"),
    ],
)
def test_odd_studies_are_reported_in_a_sentence_on_terminal_and_page(tmp_path, caplog, sites, sentence):
    for number, site in enumerate(sites):
        _write(tmp_path, str(number), _sidecar(site, 0.1 * number, 0.0))
    with caplog.at_level(logging.WARNING, "bids_mmh"):
        assert run_group(_settings(tmp_path)) is ExitCode.OK
    page = unescape((tmp_path / "group.html").read_text())
    assert sentence in caplog.text
    assert sentence in page


def test_a_sequence_at_only_some_sites_is_said(study, caplog):
    _write(study, "0", _sidecar("A", 0.1, 0.1), sequence="T2w", session="x")
    with caplog.at_level(logging.WARNING, "bids_mmh"):
        assert run_group(_settings(study)) is ExitCode.OK
    assert "There is no T2w scan at B" in caplog.text
