import csv
import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_mmh.preprocess.grid import model_grid

GRID = model_grid(8)
SITES = {"east": 1.0, "north": 0.5, "west": 0.3}  # contrast
LEVELS = np.array([-0.8, 0.0, 0.6])  # of fluid, grey and white matter


@pytest.fixture(scope="module")
def benchmark(load_benchmark):
    return load_benchmark("method/table")


@pytest.fixture
def study(tmp_path, write_scaled, template_tissues):
    """Three travellers, two subjects at the target site; a variant that undoes the sites' contrast."""
    root, variant = tmp_path / "out", tmp_path / "variant"
    variant.mkdir()
    mask = np.zeros(GRID.shape, np.uint8)
    mask[3:-3, 3:-3, 8:-5] = 1
    for number in range(5):
        own = gaussian_filter(np.random.default_rng(number).normal(0, 0.6, GRID.shape), 1)
        brain = LEVELS[template_tissues(GRID.shape)] + own
        for site in SITES if number < 3 else ["east"]:
            scanned = np.where(mask > 0, np.clip((brain + 1) * SITES[site] - 1, -0.99, 0.99), -1)
            name = write_scaled(
                root, f"{number:02d}", site, "preproc", volume=scanned, mask=mask, scaling=(0.01, -1.2)
            )
            if number < 3 and site != "east":
                undone = np.where(mask > 0, np.clip(brain, -0.99, 0.99), 5)  # what lies outside is ignored
                np.save(variant / f"{name}.npy", undone.astype(np.float16))
    return root, variant


def rows(text):
    cells = [re.split(r"\s*\|\s*", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    return {cell[0]: cell[1:] for cell in reversed(cells)}  # the first table of two


def test_perfect_harmonization_beside_controls(benchmark, study, tmp_path, capsys):
    root, variant = study
    prefix = tmp_path / "figures" / "study"
    arguments = [str(root), "--spacing", "8", "--target", "east", "--out", str(prefix)]
    assert benchmark.main([*arguments, "--variant", f"MMH={variant}"]) == 0
    text = capsys.readouterr().out
    table = rows(text)
    assert list(reversed(table))[1:] == [*benchmark.CONTROLS, "MMH"]
    assert float(table["MMH"][0].split()[0]) > 0.999
    assert float(table["Raw"][0].split()[0]) < 0.95
    assert table["Raw"][0].endswith("*")
    assert not table["MMH"][0].endswith("*")
    assert table["z-score"][4].startswith("1.000")  # a linear map moves no tissue
    assert "6 pairs; 9 scans of 3 test subjects at 3 sites (chance 0.33)" in text
    assert "3 subjects are too few" in text
    assert "MMH left 3 scans at the target site as they were" in text
    with prefix.with_name("study_pairs.tsv").open() as stream:
        pairs = list(csv.DictReader(stream, delimiter="\t"))
    assert len(pairs) == 6 * len(benchmark.CONTROLS) + 6
    assert {(row["site"], row["target_site"]) for row in pairs} == {("north", "east"), ("west", "east")}
    means = [float(row["ssim"]) for row in pairs if row["method"] == "Raw"]
    assert f"{np.mean(means):.3f}" == table["Raw"][0].split()[0]
    figures = sorted(path.name for path in prefix.parent.glob("*.png"))
    assert figures == [f"study_{name}.png" for name in ("histograms", "mosaic_T1w", "tsne", "violins")]


def test_controls_are_fitted_on_training_subjects_at_the_target(benchmark, study, monkeypatch):
    fitted = []

    def spy(training, target):
        fitted.extend((scan.subject, scan.site) for scan in training)
        return fit_controls(training, target)

    fit_controls = benchmark.fit_controls
    monkeypatch.setattr(benchmark, "fit_controls", spy)
    assert benchmark.main([str(study[0]), "--spacing", "8", "--target", "east"]) == 0
    assert fitted == [("sub-03", "east"), ("sub-04", "east")]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--target", "west"], 66, "controls need another subject"),
        (["--test-subjects", "00", "77"], 66, "no scans of sub-77"),
        (["--variant", "MMH"], 64, "not NAME=FOLDER"),
        (["--variant", "Raw={root}"], 64, "name of a control"),
        (["--variant", "MMH={root}"], 66, "harmonize all test scans"),
    ],
)
def test_what_cannot_be_done_says_why(benchmark, study, capsys, arguments, code, message):
    arguments = [argument.format(root=study[0]) for argument in arguments]
    assert benchmark.main([str(study[0]), "--spacing", "8", *arguments]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("volume", "message"),
    [(np.zeros((4, 4, 4)), "choose another --spacing"), (np.full(GRID.shape, np.nan), "not finite")],
)
def test_variants_that_do_not_fit_are_refused(benchmark, study, capsys, volume, message):
    root, variant = study
    np.save(next(variant.glob("*.npy")), volume)
    assert benchmark.main([str(root), "--spacing", "8", "--variant", f"MMH={variant}"]) == 65
    assert message in capsys.readouterr().err
