import re
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_mmh import Harmonizer
from bids_mmh.errors import BadDataError, NoInputError, UsageError
from bids_mmh.method import harmonizer
from bids_mmh.method.config import PRESETS, TargetConfig
from bids_mmh.method.model_files import model_sha256
from bids_mmh.participant.harmonize import harmonize_file
from bids_mmh.participant.intensity_units import stored_image
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.options import PreprocessOptions
from bids_mmh.preprocess.template import NILEARN_SPACE

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
ROUGH = PreprocessOptions(sloppy=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model with random weights and the records of both sequences."""
    torch.manual_seed(1)
    model = harmonizer.Harmonizer(PRESETS["tiny"])
    for weights in model.network.parameters():
        torch.nn.init.normal_(weights, std=0.005)
    model.records.mean[:], model.records.std[:] = 0.2, 0.3
    model.save_pretrained(path := tmp_path_factory.mktemp("model"))
    return path


@pytest.fixture(scope="module")
def model(folder):
    return Harmonizer.from_pretrained(folder, "cpu", template=NILEARN_SPACE, preprocessing=ROUGH)


def every(image, step):
    """Every so many voxels of an image."""
    data = np.asarray(image.dataobj, dtype=np.float32)[::step, ::step, ::step]
    return nib.Nifti1Image(data, image.affine @ np.diag([step, step, step, 1]))


@pytest.fixture(scope="module")
def brain(template):
    """The template's brain at 4 mm and its mask."""
    return every(nib.load(template.t1w), 4), every(nib.load(template.brain_mask), 4)


@pytest.fixture(scope="module")
def on_grid():
    """A ball with structure, and its mask, on the tiny model's grid."""
    grid = model_grid(4.0)
    x, y, z = np.indices(grid.shape) - np.array(grid.shape)[:, None, None, None] / 2
    ball = x**2 + y**2 + z**2 < 15**2
    data = np.where(ball, 100 + 40 * np.sin(x / 3) + 10 * np.cos(y), 0).astype(np.float32)
    return nib.Nifti1Image(data, grid.affine), nib.Nifti1Image(ball.astype(np.uint8), grid.affine)


def test_it_tells_what_the_model_is(model, folder, tmp_path):
    assert (model.sequences, model.target, model.spacing) == (("T1w", "T2w"), "unified", 4.0)
    config = replace(PRESETS["tiny"], target=TargetConfig("alpha", "embedded", "0" * 64, "attention"))
    assert Harmonizer(harmonizer.Harmonizer(config)).target == "alpha"
    model.save_pretrained(tmp_path / "copy")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()


def test_on_the_grid_it_gives_what_the_harmonize_node_gives(model, folder, on_grid, tmp_path):
    scan, mask = on_grid
    for name, image in (("scan", scan), ("mask", mask)):
        nib.save(image, tmp_path / f"{name}.nii.gz")
    harmonize_file(
        tmp_path / "scan.nii.gz",
        tmp_path / "mask.nii.gz",
        sequence="T2w",
        model=folder,
        model_sha256=model_sha256(folder),
        device="cpu",
        threads=1,
        out_file=tmp_path / "out.nii.gz",
    )
    out = nib.load(tmp_path / "out.nii.gz")
    wanted = stored_image(np.asarray(out.dataobj), np.asarray(mask.dataobj) > 0, out)
    found = model.harmonize(scan, "T2w", mask, space="template")
    np.testing.assert_array_equal(found.get_fdata(), wanted.get_fdata())
    np.testing.assert_array_equal(found.affine, scan.affine)
    assert found.get_data_dtype() == np.float32


def test_a_stripped_brain_needs_no_mask(model, on_grid):
    scan, mask = on_grid
    found = model.harmonize(scan, space="template").get_fdata()
    wanted = model.harmonize(scan, mask=mask, space="template").get_fdata()
    inside = np.asarray(mask.dataobj) > 0
    assert (found[~inside] == 0).all()
    assert (found[inside] > 0).mean() > 0.98
    assert np.corrcoef(found[inside], wanted[inside])[0, 1] > 0.95


def test_template_space_on_other_voxels_is_resampled_to_the_grid(model, on_grid):
    scan, mask = on_grid
    turned = [image.as_reoriented([[1, -1], [0, 1], [2, -1]]).slicer[2:-2] for image in (scan, mask)]
    found = model.harmonize(turned[0], mask=turned[1], space="template")
    wanted = model.harmonize(scan, mask=mask, space="template")
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found.affine, wanted.affine)
    inside = np.asarray(mask.dataobj) > 0
    assert np.corrcoef(found.get_fdata()[inside], wanted.get_fdata()[inside])[0, 1] > 0.99


def test_native_space_keeps_the_scans_voxels_and_takes_a_mask(model, brain, monkeypatch):
    monkeypatch.setattr("bids_mmh.preprocess.steps.skull_strip.strip_skull", None)  # not asked
    scan, mask = brain
    turned = [image.as_reoriented([[1, -1], [0, -1], [2, 1]]) for image in (scan, mask)]
    found = model.harmonize(turned[0], mask=turned[1])
    assert found.shape == turned[0].shape
    np.testing.assert_array_equal(found.affine, turned[0].affine)
    inside = np.asarray(turned[1].dataobj) > 0
    values = found.get_fdata()
    assert ((values > 0) == inside).mean() > 0.999
    assert np.corrcoef(values[inside], np.asarray(turned[0].dataobj)[inside])[0, 1] > 0.8
    straight = model.harmonize(scan, mask=mask).as_reoriented([[1, -1], [0, -1], [2, 1]]).get_fdata()
    np.testing.assert_allclose(values, straight, atol=1.0)


def test_what_lies_outside_the_brain_is_kept_if_asked(model, brain):
    scan, mask = brain
    whole = nib.Nifti1Image(np.asarray(scan.dataobj) + np.float32(20), scan.affine)
    inside = np.asarray(mask.dataobj) > 0
    zeroed, kept = (model.harmonize(whole, mask=mask, outside=way).get_fdata() for way in ("zero", "keep"))
    assert (zeroed[~inside] == 0).all()
    np.testing.assert_array_equal(kept[inside], zeroed[inside])
    assert np.ptp(kept[~inside]) < np.ptp(kept[inside]) / 2
    assert (kept[~inside] > 0).mean() > 0.9


def test_how_a_head_is_stripped_can_be_told(folder, brain, monkeypatch):
    asked = []

    def strip(image, template, template_mask, *, work_dir, threads, mode, extractor):
        asked.append((threads, mode, extractor.name))
        raise BadDataError("seen")

    monkeypatch.setattr("bids_mmh.preprocess.steps.skull_strip.strip_skull", strip)
    options = PreprocessOptions(omp_nthreads=3, skull_strip="force")
    model = Harmonizer.from_pretrained(folder, "cpu", template=NILEARN_SPACE, preprocessing=options)
    with pytest.raises(BadDataError, match="seen"):
        model.harmonize(brain[0])
    assert asked == [(3, "force", "deepbet")]
    for wrong, said in (
        (PreprocessOptions(skull_strip="no"), "skull_strip='no'.*'auto' or 'force' or 'skip'"),
        (PreprocessOptions(engine="fsl"), "engine='fsl'"),
        (PreprocessOptions(engine="synthstrip"), "weights"),
    ):
        with pytest.raises(UsageError, match=said):
            Harmonizer.from_pretrained(folder, "cpu", preprocessing=wrong)


def test_what_cannot_be_used_is_refused_in_one_sentence(model, on_grid):
    scan, mask = on_grid
    data = np.asarray(scan.dataobj)
    empty = nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine)
    with pytest.raises(BadDataError, match="knows T1w, T2w but not FLAIR"):
        model.harmonize(scan, "FLAIR")
    with pytest.raises(BadDataError, match="36x46x46x2"):
        model.harmonize(nib.Nifti1Image(np.stack([data, data], -1), scan.affine))
    with pytest.raises(BadDataError, match="is empty"):
        model.harmonize(scan, mask=empty, space="template")
    with pytest.raises(BadDataError, match="not on the voxels"):
        model.harmonize(scan, mask=mask.slicer[1:], space="template")
    with pytest.raises(BadDataError, match="magnitude"):
        model.harmonize(nib.Nifti1Image(data.astype(np.complex64), scan.affine))
    with pytest.raises(BadDataError, match="not a skull-stripped brain"):
        model.harmonize(
            nib.Nifti1Image(data + np.arange(46, dtype=np.float32), scan.affine), space="template"
        )
    with pytest.raises(UsageError, match="space='MNI'"):
        model.harmonize(scan, space="MNI")


def test_messages_name_the_image_and_no_temporary_file(model, tmp_path):
    flat = nib.Nifti1Image(np.ones((9, 9, 9), np.float32), np.diag([20, 20, 20, 1]))
    with pytest.raises(BadDataError, match=r"^The image in memory has the same value"):
        model.harmonize(flat)
    nib.save(flat, tmp_path / "flat.nii.gz")
    with pytest.raises(BadDataError, match=rf"^{tmp_path}/flat\.nii\.gz has the same value"):
        model.harmonize(nib.load(tmp_path / "flat.nii.gz"))


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no model named 'nowhere'"):
        Harmonizer.from_pretrained("nowhere")
    with pytest.raises(NoInputError, match="not a model folder"):
        Harmonizer.from_pretrained(tmp_path)


def test_the_package_and_its_help_start_without_torch():
    code = (
        "import sys, bids_mmh; from bids_mmh.cli.parser import build_parser; build_parser().format_help(); "
        "sys.exit('torch' in sys.modules or 'nibabel' in sys.modules or hasattr(bids_mmh, 'nothing'))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


RECIPE = """
[model]
preset = "tiny"
[[phase]]
spacing = 16.0
steps = 2
[training]
max_timestep = 200
"""


@pytest.fixture
def desk(folder, template, brain, on_grid, write_derivative, tmp_path, monkeypatch):
    """The folder that the page's snippets run in: no network, and a brain that is stripped already."""

    def no_program(*_, **__):
        raise BadDataError("no program is run here.")

    monkeypatch.setattr("bids_mmh.api.find_template", lambda *_: template)
    for program in ("network_mask", "deepbet_mask"):
        monkeypatch.setattr(f"bids_mmh.preprocess.engines.builtin.{program}", no_program)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(folder)
    names = ("head", "template_scan", "template_mask")
    for name, image in zip(names, (brain[0], *on_grid), strict=True):
        nib.save(image, tmp_path / f"{name}.nii.gz")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    mask = np.zeros((9, 12, 12))
    mask[1:-1, 1:-1, 1:-1] = 1
    for number, sequence in product((1, 2), ("T1w", "T2w")):
        image = np.random.default_rng(number).uniform(20, 180, mask.shape)
        entities = {"subject": str(number)}
        write_derivative(tmp_path / "derivatives", entities, image, mask, sequence=sequence, site="a")
    return tmp_path


def test_the_snippets_of_the_page_run(desk, capsys):
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        exec(compile(snippet, PAGE.name, "exec"), {"__name__": "__main__"})
    assert "('T1w', 'T2w') unified 4.0" in capsys.readouterr().out
    assert nib.load(desk / "head_harmonized.nii.gz").shape == nib.load(desk / "head.nii.gz").shape
    assert nib.load(desk / "template_harmonized.nii.gz").shape == (36, 46, 46)
    assert Harmonizer.from_pretrained(desk / "copy_of_the_model").spacing == 4.0
    assert Harmonizer.from_pretrained(desk / "new_model").sequences == ("T1w", "T2w")
