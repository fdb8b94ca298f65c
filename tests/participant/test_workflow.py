from dataclasses import replace
from pathlib import Path

import pytest

from bids_mmh.bids.session import Scan, Session
from bids_mmh.derivatives.external_derivatives import FoundFile, Precomputed
from bids_mmh.derivatives.jobs import ScanJob, SessionJob
from bids_mmh.participant.workflow import session_graph
from bids_mmh.preprocess.template import Template
from bids_mmh.settings import Settings

SPACE = "MNI152NLin2009aSym"


def _found(name):
    return FoundFile(Path("/d") / name, f"bids:d:{name}")


@pytest.fixture
def session(tmp_path):
    """A session of a T1w and a T2w that is only preprocessed; ``given`` is for both of its scans."""

    def make(given=(), from_standard=False, **options):
        settings = Settings(
            bids_dir=tmp_path / "raw",
            output_dir=tmp_path / "out",
            analysis_level="participant",
            preproc_only=True,
            work_dir=tmp_path / "work",
            **options,
        )
        scans = []
        for sequence in ("T1w", "T2w"):
            path = tmp_path / "raw" / "sub-1" / "anat" / f"sub-1_{sequence}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            scans.append(Scan(path, sequence, {"subject": "1"}))
        jobs = tuple(
            ScanJob(scan, scans[0], SPACE, 4.0, settings, None, given=files, from_standard=from_standard)
            for scan, files in zip(scans, given or [Precomputed()] * 2, strict=True)
        )
        return SessionJob(
            Session("1", None, tuple(scans)), jobs, Template(SPACE, tmp_path / "t", tmp_path / "m", "")
        )

    return make


def test_files_of_others_reach_the_steps_that_they_replace(session, tmp_path):
    t1w = Precomputed(preproc=_found("p"), mask=_found("m"), to_template=_found("x"), standard=_found("s"))
    t2w = Precomputed(mask=_found("m2"), to_anchor=_found("x2"))
    job = session((t1w, t2w))
    graph = session_graph(job, "cpu")
    raw = tmp_path / "raw" / "sub-1" / "anat"
    for node, field, value in (
        ("load_t1w1", "precomputed_preproc", "/d/p"),
        ("load_t1w1", "in_file", str(raw / "sub-1_T1w.nii.gz")),
        ("brain_t1w1", "precomputed_mask", "/d/m"),
        ("brain_t1w1", "precomputed_mask_uri", "bids:d:m"),
        ("template_t1w1", "precomputed_xfm", "/d/x"),
        ("anchor_t2w1", "precomputed_mask", "/d/m2"),
        ("anchor_t2w1", "precomputed_xfm", "/d/x2"),
    ):
        assert getattr(graph.get_node(node).inputs, field) == value, (node, field)
    assert graph.get_node("template_t1w1").inputs.identity is False


def test_images_in_template_space_take_the_scans_place(session):
    standard = Precomputed(standard=_found("s"), standard_mask=_found("sm"))
    job = session((standard, standard), from_standard=True, output_spaces=("MNI",))
    assert job.starts_in_template_space
    graph = session_graph(job, "cpu")
    assert graph.get_node("load_t1w1").inputs.in_file == "/d/s"
    assert graph.get_node("brain_t1w1").inputs.precomputed_mask == "/d/sm"
    assert graph.get_node("template_t1w1").inputs.identity is True
    assert graph.get_node("bias_t2w1").inputs.skip is True
    # How the raw scan got there is not known: no transform is promised.
    assert not any("xfm" in path.name for path in job.scans[0].expected())


def test_no_preproc_takes_the_raw_scans_as_they_lie(session, tmp_path):
    job = session(no_preproc=True)
    assert job.starts_in_template_space
    graph = session_graph(job, "cpu")
    assert graph.get_node("load_t1w1").inputs.in_file.startswith(str(tmp_path / "raw"))
    assert graph.get_node("anchor_t2w1").inputs.identity is True


def test_options_of_preprocessing_reach_the_steps(session, tmp_path):
    weights = tmp_path / "w.pt"
    job = session(skull_strip="force", preproc_engine="synthstrip", synthstrip_weights=weights)
    brain = session_graph(job, "cpu").get_node("brain_t1w1").inputs
    assert (brain.skull_strip, brain.engine, brain.weights) == ("force", "synthstrip", str(weights))


def test_a_mask_that_changed_undoes_done(session, tmp_path):
    mask = tmp_path / "mask.nii.gz"
    mask.write_bytes(b"one")
    found = Precomputed(mask=FoundFile(mask, "bids:d:mask.nii.gz"))
    scan = replace(session().scans[0], given=found)
    before = scan.derivatives_found()
    assert list(before) == ["bids:d:mask.nii.gz"]
    mask.write_bytes(b"two")
    assert scan.derivatives_found() != before
