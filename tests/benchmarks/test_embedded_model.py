import importlib.util
import json
import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

FILE = Path(__file__).parents[2] / "benchmarks" / "embedded_model.py"
SHAPE = (20, 22, 18)


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("embedded_model", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["embedded_model"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["embedded_model"]


def write(folder, stem, desc, sequence, *, volume, slope, intercept, site):
    """One derivative with its sidecar, stored so that ``slope * value + intercept`` is ``volume``."""
    name = f"{stem}_space-MNI_desc-{desc}_{sequence}"
    stored = np.where(volume == -1, 0, (volume - intercept) / slope).astype(np.float32)
    nib.save(nib.Nifti1Image(stored, np.eye(4)), folder / f"{name}.nii.gz")
    sidecar = {
        "Site": site,
        "Sequence": sequence,
        "BrainMask": f"{stem}_space-MNI_desc-brain_mask.nii.gz",
        "IntensityScaling": {"Slope": slope, "Intercept": intercept},
    }
    (folder / f"{name}.json").write_text(json.dumps(sidecar))


def travelling(root, subjects=("01", "02"), sites=("east", "west"), harmonized=True):
    """Subjects whose sites differ by a gamma; their harmonized scans are equal at all sites."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:17, 3:19, 3:15] = 1
    for index, subject in enumerate(subjects):
        field = gaussian_filter(np.random.default_rng(index).standard_normal(SHAPE), 1)
        rank = field[mask > 0].argsort().argsort() / mask.sum()
        for exponent, site in enumerate(sites, start=1):
            folder = root / f"sub-{subject}" / f"ses-{site}" / "anat"
            folder.mkdir(parents=True)
            stem = f"sub-{subject}_ses-{site}"
            nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / f"{stem}_space-MNI_desc-brain_mask.nii.gz")
            before, after = (np.full(SHAPE, -1.0) for _ in range(2))
            before[mask > 0] = 1.8 * rank**exponent - 0.9
            after[mask > 0] = 1.8 * rank - 0.9
            write(folder, stem, "preproc", "T1w", volume=before, slope=0.01, intercept=-1.2, site=site)
            if harmonized:
                write(folder, stem, "harmonized", "T1w", volume=after, slope=0.002, intercept=-1, site=site)
    return root


def rows(text):
    cells = [re.split(r"\s*\|\s*", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    return {cell[0]: cell[1:] for cell in cells}


def test_perfect_harmonization_and_controls_between(benchmark, tmp_path, capsys):
    assert benchmark.main([str(travelling(tmp_path))]) == 0
    table = rows(capsys.readouterr().out)
    assert list(table)[1:] == list(benchmark.METHODS)
    ssim, psnr, pcc, wd, inter, _, _, pairs = table["MMH"]
    assert (ssim, psnr, pcc, wd, pairs) == ("1.000", "inf", "1.000", "0.0000", "2")
    assert float(inter) < 1e-3
    raw, matched = table["Raw"], table["Histogram matching"]
    assert raw[5] == "1.000"  # its anatomy is its own
    assert float(raw[3]) == pytest.approx(0.9 * (1 / 2 - 1 / 3), abs=2e-3)  # of u and u² over [-0.9, 0.9]
    assert float(matched[3]) < 0.01
    assert float(matched[0]) > float(raw[0])


def test_controls_never_see_the_subject_they_normalise(benchmark, tmp_path, monkeypatch):
    fitted = []

    def spy(training, target):
        fitted.append({scan.subject for scan in training})
        return fit_controls(training, target)

    fit_controls = benchmark.fit_controls
    monkeypatch.setattr(benchmark, "fit_controls", spy)
    found = benchmark.find_scans([travelling(tmp_path)], ["T1w"])
    benchmark.table(found, "T1w", "west")
    assert fitted == [{"sub-02"}, {"sub-01"}]


def test_target_can_be_chosen(benchmark, tmp_path, capsys):
    travelling(tmp_path)
    assert benchmark.main([str(tmp_path), "--target", "west"]) == 0
    assert "target site west: 2 pairs of 2" in capsys.readouterr().out
    assert benchmark.main([str(tmp_path), "--target", "north"]) == 66
    assert "choose one of east, west" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": ("east",)}, "need travelling subjects"),
        ({"subjects": ("01",)}, "need another subject"),
        ({"harmonized": False}, "without --preproc-only"),
    ],
)
def test_studies_without_an_answer_say_why(benchmark, tmp_path, capsys, options, message):
    assert benchmark.main([str(travelling(tmp_path, **options))]) == 66
    assert message in capsys.readouterr().err
