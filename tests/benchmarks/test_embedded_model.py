import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

SHAPE = (20, 22, 18)


@pytest.fixture(scope="module")
def benchmark(load_benchmark):
    return load_benchmark("method/embedded_model")


@pytest.fixture
def travelling(tmp_path, write_scaled):
    """Make a study whose sites differ by a gamma; harmonized scans are equal at all sites."""

    def make(**options):
        return _travelling(tmp_path, write_scaled, **options)

    return make


def _travelling(root, write, subjects=("01", "02"), sites=("east", "west"), harmonized=True):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:17, 3:19, 3:15] = 1
    for index, subject in enumerate(subjects):
        field = gaussian_filter(np.random.default_rng(index).standard_normal(SHAPE), 1)
        rank = field[mask > 0].argsort().argsort() / mask.sum()
        for exponent, site in enumerate(sites, start=1):
            before, after = (np.full(SHAPE, -1.0) for _ in range(2))
            before[mask > 0] = 1.8 * rank**exponent - 0.9
            after[mask > 0] = 1.8 * rank - 0.9
            write(root, subject, site, "preproc", volume=before, mask=mask, scaling=(0.01, -1.2))
            if harmonized:
                write(root, subject, site, "harmonized", volume=after, mask=mask, scaling=(0.002, -1))
    return root


def rows(text):
    cells = [re.split(r"\s*\|\s*", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    return {cell[0]: cell[1:] for cell in cells}


def test_perfect_harmonization_and_controls_between(benchmark, travelling, capsys):
    assert benchmark.main([str(travelling())]) == 0
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


def test_controls_never_see_the_subject_they_normalise(benchmark, travelling, monkeypatch):
    fitted = []

    def spy(training, target):
        fitted.append({scan.subject for scan in training})
        return fit_controls(training, target)

    fit_controls = benchmark.fit_controls
    monkeypatch.setattr(benchmark, "fit_controls", spy)
    found = benchmark.find_scans([travelling()], ["T1w"])
    benchmark.table(found, "T1w", "west")
    assert fitted == [{"sub-02"}, {"sub-01"}]


def test_target_can_be_chosen(benchmark, travelling, capsys):
    study = str(travelling())
    assert benchmark.main([study, "--target", "west"]) == 0
    assert "target site west: 2 pairs of 2" in capsys.readouterr().out
    assert benchmark.main([study, "--target", "north"]) == 66
    assert "choose one of east, west" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": ("east",)}, "need travelling subjects"),
        ({"subjects": ("01",)}, "need another subject"),
        ({"harmonized": False}, "without --preproc-only"),
    ],
)
def test_studies_without_an_answer_say_why(benchmark, travelling, capsys, options, message):
    assert benchmark.main([str(travelling(**options))]) == 66
    assert message in capsys.readouterr().err
