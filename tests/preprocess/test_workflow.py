import json
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.preprocess.external import PrecomputedFile, PrecomputedFiles
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.options import PreprocessOptions
from bids_mmh.preprocess.transforms import read_transform, to_matrix
from bids_mmh.preprocess.workflow import OUTPUT_FIELDS, ScanSpec, build_session_workflow

SLOPPY = PreprocessOptions(sloppy=True)


def _build(scans, template, spacing=4.0, options=SLOPPY):
    return build_session_workflow(
        "session", scans, template=template, grid=model_grid(spacing), options=options
    )


@pytest.fixture
def pair(lopsided, tmp_path):
    """A stripped T1w, and its T2w with inverted contrast, 6 mm off, on thick slices that miss the top."""
    data = np.asanyarray(lopsided.dataobj)
    nib.save(lopsided, tmp_path / "t1.nii.gz")
    affine = lopsided.affine @ np.diag([1, 1, 2, 1])
    affine[1, 3] += 6
    inverted = np.where(data > 0, 450 - data, 0).astype(np.int16)
    thick = inverted[:, :, 20:80].reshape(*data.shape[:2], 30, 2).mean(axis=-1).astype(np.int16)
    affine[:3, 3] += affine[:3, 2] * (20 / 2 + 0.25)
    nib.save(nib.Nifti1Image(thick, affine).as_reoriented([[1, -1], [0, -1], [2, 1]]), tmp_path / "t2.nii.gz")
    return [
        ScanSpec("t2w", "T2w", tmp_path / "t2.nii.gz"),
        ScanSpec("t1w", "T1w", tmp_path / "t1.nii.gz"),
    ]


def test_first_t1w_is_the_anchor_and_the_others_follow(pair, template):
    graph = _build([*pair, ScanSpec("t1w_2", "T1w", pair[1].path)], template, options=PreprocessOptions(3))
    names = set(graph.list_node_names())
    assert {"brain_t1w", "template_t1w", "anchor_t2w", "anchor_t1w_2"} <= names
    assert not {"anchor_t1w", "brain_t2w", "brain_t1w_2"} & names
    assert set(graph.get_node("out_t2w").inputs.copyable_trait_names()) == set(OUTPUT_FIELDS)
    assert graph.get_node("bias_t2w").inputs.num_threads == 3
    assert graph.get_node("bias_t2w").n_procs == 3


def test_t2w_alone_is_its_own_anchor(pair, template):
    names = _build(pair[:1], template).list_node_names()
    assert "brain_t2w" in names
    assert "template_t2w" in names


def test_sessions_that_make_no_sense_are_refused(pair, template):
    with pytest.raises(NoInputError):
        _build([], template)
    with pytest.raises(UsageError, match="key"):
        _build([pair[0], pair[0]], template)


def test_a_scan_that_cannot_be_used_is_named(tmp_path, save):
    from bids_mmh.errors import BadDataError
    from bids_mmh.preprocess.interfaces import LoadScan

    flat = save(np.zeros((9, 9, 9), dtype=np.float32), name="flat.nii.gz")
    with pytest.raises(BadDataError, match=r"flat\.nii\.gz") as caught:
        LoadScan(in_file=str(flat)).run(cwd=str(tmp_path))
    assert str(caught.value).count("flat.nii.gz") == 1


def _precomputed(**files):
    """Files as another program's, under URIs of a dataset ``d``."""
    return PrecomputedFiles(
        **{kind: PrecomputedFile(Path(path), f"bids:d:{Path(path).name}") for kind, path in files.items()}
    )


def _run(graph, folder):
    graph.base_dir = str(folder)
    graph.config["execution"] = {"crashdump_dir": str(folder)}
    finished = {node.name: node.result.outputs for node in graph.run().nodes()}
    return {key: finished[f"finish_{key}"] for key in ("t1w", "t2w")} | {"xfm": finished["anchor_t2w"]}


def test_a_session_from_raw_to_mni(pair, template, lopsided, tmp_path):
    loaded_before = "torch" in sys.modules  # by another test of this process
    outputs = _run(_build(pair, template), tmp_path / "work")
    assert ("torch" in sys.modules) == loaded_before
    t1w, t2w = outputs["t1w"], outputs["t2w"]
    for scan, result in zip(reversed(pair), (t1w, t2w), strict=True):
        raw, native, mask = (nib.load(f) for f in (scan.path, result.native_preproc, result.native_mask))
        np.testing.assert_array_equal(native.affine, raw.affine)
        assert native.shape == mask.shape == raw.shape
        assert (native.get_data_dtype(), mask.get_data_dtype()) == (np.float32, np.uint8)
        mni, mni_mask = nib.load(result.mni_preproc), nib.load(result.mni_mask)
        assert mni.shape == mni_mask.shape == (36, 46, 46)
        np.testing.assert_allclose(mni.affine, model_grid(4.0).affine)
        assert (mni.get_fdata()[mni_mask.get_fdata() == 0] == 0).all()
    # The ball lies on the left in MNI, bright in T1w and dark in T2w.
    inside = np.round(np.linalg.inv(mni.affine) @ [-40, -10, 30, 1]).astype(int)[:3]
    mirrored = np.round(np.linalg.inv(mni.affine) @ [40, -10, 30, 1]).astype(int)[:3]
    for result, sign in ((t1w, 1), (t2w, -1)):
        data = nib.load(result.mni_preproc).get_fdata()
        assert sign * (data[tuple(inside)] - data[tuple(mirrored)]) > 80
    # The T2w was 6 mm to the front (RAS +y, LPS -y) and its field of view is short.
    shift = to_matrix(read_transform(outputs["xfm"].to_anchor_xfm))
    np.testing.assert_allclose(shift[:3, 3], [0, -6, 0], atol=1.0)
    qc1, qc2 = (json.loads(Path(result.qc_json).read_text()) for result in (t1w, t2w))
    assert qc1["mask_engine"] == "already stripped"
    assert qc2["mask_engine"] == "anchor"
    assert 0.7 < qc2["covered_fraction"] < 0.95
    assert any("covers" in sentence for sentence in qc2["warnings"])
    assert set(qc1["seconds"]) == {
        "load",
        "brain mask",
        "bias field",
        "align to template",
        "check alignment",
        "resample and write",
    }
    assert qc1["template_correlation"] > 0.9
    assert qc1["template_distinctness"] > 0.05
    assert qc2["anchor_information"] > 0.1
    _start_from_derivatives(pair, template, outputs, tmp_path)
    _repeat_from_the_work_folder(pair, template, tmp_path / "work")


def _repeat_from_the_work_folder(pair, template, folder):
    """No step runs again, and with another grid the last one alone."""

    def written():
        return {
            path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.suffix in (".nrrd", ".gz")
        }

    before = written()
    assert len(before) >= 15
    _run(_build(pair, template), folder)
    assert written() == before
    _run(_build(pair, template, spacing=8.0), folder)
    after = written()
    changed = {
        path.parent.name for path in before if path.suffix == ".nrrd" and after.get(path) != before[path]
    }
    assert changed == set()
    assert all(after[path] != before[path] for path in before if path.name == "mni_preproc.nii.gz")


def _start_from_derivatives(pair, template, outputs, tmp_path):
    """What a run left takes the place of the steps of another, with the same result."""
    t1w, t2w = outputs["t1w"], outputs["t2w"]
    scans = [
        replace(
            pair[0],
            precomputed=_precomputed(
                preproc=t2w.native_preproc, mask=t2w.native_mask, to_anchor=outputs["xfm"].to_anchor_xfm
            ),
        ),
        replace(
            pair[1],
            precomputed=_precomputed(
                preproc=t1w.native_preproc, mask=t1w.native_mask, to_template=t1w.to_mni_xfm
            ),
        ),
    ]
    again = _run(_build(scans, template), tmp_path / "again")
    for key in ("t1w", "t2w"):
        first, second = (nib.load(o[key].mni_preproc).get_fdata() for o in (outputs, again))
        np.testing.assert_allclose(second, first, atol=1e-3 * first.max())
        qc = json.loads(Path(again[key].qc_json).read_text())
        assert qc["given"] == {
            "preproc": "bids:d:native_preproc.nii.gz",
            "mask": "bids:d:native_mask.nii.gz",
            "xfm": f"bids:d:{'to_mni_xfm.txt' if key == 't1w' else 'to_anchor.txt'}",
        }
        assert qc["mask_engine"] == "given"
        assert "n4" not in qc
        assert not any("not used" in sentence for sentence in qc["warnings"])


def test_files_that_do_not_fit_are_refused_and_the_step_is_done(pair, template, tmp_path, save):
    empty = save(np.zeros((9, 9, 9), np.uint8), name="mask.nii.gz")
    other = save(
        np.random.default_rng(0).normal(100, 20, (60, 60, 60)).astype(np.float32), name="other.nii.gz"
    )
    scan = replace(pair[1], precomputed=_precomputed(mask=empty, preproc=other, to_template=empty))
    graph = _build([scan], template)
    graph.base_dir = str(tmp_path / "work")
    finished = {node.name: node.result.outputs for node in graph.run().nodes()}
    qc = json.loads(Path(finished["finish_t1w"].qc_json).read_text())
    assert "given" not in qc
    assert qc["mask_engine"] == "already stripped"
    assert "n4" in qc
    for kind in ("brain mask bids:d:mask", "preprocessed image bids:d:other", "transform bids:d:mask"):
        assert any(kind in sentence and "not used" in sentence for sentence in qc["warnings"]), kind


def test_another_version_runs_a_step_again_and_another_number_of_threads_does_not(save):
    from bids_mmh.preprocess.interfaces import LoadScan

    flat = str(save(np.zeros((9, 9, 9), np.float32)))
    steps = (LoadScan(in_file=flat, **more) for more in ({}, {"version": "99.0"}, {"num_threads": 3}))
    first, other_version, more_threads = (step.inputs.get_hashval()[1] for step in steps)
    assert other_version != first
    assert more_threads == first
