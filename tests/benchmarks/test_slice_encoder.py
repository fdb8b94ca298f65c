import json

import nibabel as nib
import numpy as np
import pytest
import torch

SHAPE = (20, 22, 18)


@pytest.fixture(scope="module")
def benchmark(load_benchmark):
    return load_benchmark("training/slice_encoder")


def write(root, subject, site, sequence, exponent):
    """One derivative: noise of the subject's own, seen through the site's gamma."""
    folder = root / f"sub-{subject}" / f"ses-{site}" / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"sub-{subject}_ses-{site}_space-MNI"
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:17, 3:19, 3:15] = 1
    values = np.random.default_rng(int(subject)).uniform(0.05, 1, SHAPE) ** exponent
    nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / f"{stem}_desc-brain_mask.nii.gz")
    nib.save(
        nib.Nifti1Image(values.astype(np.float32), np.eye(4)),
        folder / f"{stem}_desc-preproc_{sequence}.nii.gz",
    )
    sidecar = {
        "Site": site,
        "Sequence": sequence,
        "BrainMask": f"{stem}_desc-brain_mask.nii.gz",
        "IntensityScaling": {"Slope": 1.8, "Intercept": -0.9},
    }
    (folder / f"{stem}_desc-preproc_{sequence}.json").write_text(json.dumps(sidecar))


@pytest.fixture
def travelling(tmp_path):
    for subject in ("01", "02"):
        for exponent, site in enumerate(("east", "west"), start=1):
            for sequence in ("T1w", "T2w"):
                write(tmp_path, subject, site, sequence, exponent)
    return tmp_path


def test_table_has_a_row_for_each_pooling_and_sites_stand_apart(benchmark, travelling, capsys):
    assert benchmark.main([str(travelling), "--encoders", "embedded"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| embedded")]
    assert len(lines) == 4
    ratios = [float(line.split("|")[4]) for line in lines]
    assert min(ratios) > 1


def test_z_scored_scan_has_the_standard_moments(benchmark, travelling):
    scan = benchmark.find_scans([travelling], ["T1w"])[0]
    volume, standard, mask = benchmark.read(scan)
    assert standard[mask].mean().item() == pytest.approx(0, abs=1e-3)
    assert standard[mask].std().item() == pytest.approx(0.4, abs=1e-3)
    assert torch.equal(standard[~mask], volume[~mask])


def test_a_folder_without_scans(benchmark, tmp_path, capsys):
    assert benchmark.main([str(tmp_path), "--encoders", "random"]) == 66
    assert "No preprocessed T1w scans" in capsys.readouterr().err
