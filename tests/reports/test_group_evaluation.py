import numpy as np
import pytest

from bids_mmh.reports.evaluation_table import PAIR, SCAN, STUDY, EvaluationRow
from bids_mmh.reports.figures.evaluation import FeatureMap
from bids_mmh.reports.group_evaluation import EvaluationPart, evaluation_blocks

REGIONAL = ("site_accuracy", "site_null_high", "age_mae", "age_mae_of_mean", "grey_matter_age_r")


def study(method, measure, value, **more):
    return EvaluationRow("MNI", STUDY, method, measure, value, **more)


@pytest.fixture
def rows():
    found = []
    for method, level in (("Raw", 0.8), ("MMH", 0.9)):
        p = None if method == "Raw" else 0.01
        found += [study(method, name, level, sd=0.05, n=6, p=p) for name in ("ssim", "psnr", "pcc", "wd")]
        found += [
            study(method, name, level, sd=0.05, n=6) for name in ("dice_GM", "volume_GM", "anatomy", "spread")
        ]
        found += [study(method, "inter_site_wd", 0.02), study(method, "feature_inter_site", 4 * level)]
        found += [study(method, "feature_intra_site", 2.0), study(method, "site_accuracy", 0.5, p=0.25)]
        found += [study(method, "site_null_high", 0.6), study(method, "age_mae", 5.0)]
        found += [study(method, "age_mae_of_mean", 9.0), study(method, "grey_matter_age_r", -level, p=0.0001)]
        found += [study(method, "grey_matter_age_z", 1.5)]
        found += [study(method, "regional_" + name, 0.25 * level, p=0.04) for name in REGIONAL]
        for subject, age in (("sub-1", 0.5), ("sub-2", 0.4)):
            found += [
                EvaluationRow(
                    "MNI", PAIR, method, name, level, participant_id=subject, scan=subject, other_scan="o"
                )
                for name in ("ssim", "psnr", "pcc", "wd")
            ]
            found.append(EvaluationRow("MNI", SCAN, method, "grey_matter_ratio", age, participant_id=subject))
    found += [study("ComBat", "regional_" + name, 0.5, p=0.5) for name in REGIONAL]
    return found


def part(rows, **changes):
    defaults = {
        "rows": rows,
        "main": "MMH",
        "raw": "Raw",
        "ages": {"sub-1": 30.0, "sub-2": 60.0},
        "maps": {
            "Raw": FeatureMap(np.eye(4)[:, :2], 3.2, 2.0),
            "MMH": FeatureMap(np.eye(4)[:, :2], 3.6, 2.0),
        },
        "map_sites": ["a", "b", "a", "b"],
        "map_subjects": ["sub-1", "sub-1", "sub-2", "sub-2"],
    }
    return EvaluationPart("T1w", "MNI", "b", (), (), **(defaults | changes))


def test_five_questions_with_a_line_a_method(rows):
    blocks = {block.key: block for block in evaluation_blocks(part(rows))}
    assert list(blocks) == ["similarity", "anatomy", "sites", "age", "volumes"]
    methods = {key: [method for method, _ in block.lines] for key, block in blocks.items()}
    assert methods.pop("volumes") == ["Raw", "MMH", "ComBat"]
    assert all(own == ["Raw", "MMH"] for own in methods.values())
    assert all(len(cells) == len(block.headings) for block in blocks.values() for _, cells in block.lines)
    cells = {key: dict(block.lines)["MMH"] for key, block in blocks.items()}
    assert cells["similarity"][0] == "0.900 ± 0.050*"
    assert dict(blocks["similarity"].lines)["Raw"][0] == "0.800 ± 0.050"
    assert blocks["similarity"].lead == (
        "2 pairs of 2 travelling subjects, each scan against the same subject's raw scan at b."
    )
    assert cells["sites"] == ["0.0200", "3.60 (1.12)", "1.80", "0.50", "0.60", "0.250"]
    assert blocks["sites"].lead == "Chance is 0.50 with 2 sites."
    assert cells["age"] == ["5.00", "9.00", "-0.90", "1.50", "< .001"]
    assert dict(blocks["age"].lines)["Raw"][-1] == "–"
    assert [len(block.pictures) for block in blocks.values()] == [1, 0, 1, 1, 0]


def test_volumes_are_beside_the_ages_of_each_site(rows):
    volumes = evaluation_blocks(part(rows))[-1]
    assert dict(volumes.lines)["ComBat"] == ["0.50", "0.50", "0.500", "0.50", "0.50", "0.50", "0.500"]
    assert volumes.lead == "Mean age in years by site (subjects of known age): a 45.0 (2), b 45.0 (2)."
    unknown = evaluation_blocks(part(rows, ages={}))[-1]
    assert unknown.lead.startswith("Ages are not known")


def test_parts_without_figures_are_left_out(rows):
    gone = {"ssim", "age_mae", "grey_matter_age_r", "regional_site_accuracy", "regional_age_mae"}
    lonely = [row for row in rows if row.measure not in gone]
    blocks = evaluation_blocks(part(lonely, map_sites=["a"] * 4))
    assert [block.key for block in blocks] == ["anatomy"]
    assert evaluation_blocks(part([], maps=None, map_sites=())) == []
