"""Rows and columns of the evaluation's long table, and its data dictionary."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

PAIR, SCAN, STUDY = "pair", "scan", "study"

METRICS: Mapping[str, str] = {
    "ssim": "Structural similarity of two scans of one subject inside both brain masks; 1 for equal scans",
    "psnr": "Peak signal-to-noise ratio of two scans of one subject, dB; n/a for equal scans",
    "pcc": "Pearson's correlation of the intensities of two scans of one subject",
    "wd": "Wasserstein distance of the histograms of two scans of one subject (mean absolute difference of "
    "the cumulative distributions), 0 to 1; 0 by construction where the histogram itself was matched",
    "dice_<tissue>": "Dice overlap of a tissue with that of the raw version of the same scan",
    "volume_<tissue>": "Volume preservation, the paper's AP: 1 - |V - V_raw| / V_raw of a tissue",
    "anatomy": "Cosine similarity of the gradient vectors with those of the raw version of the same scan",
    "spread": "Standard deviation of the scaled intensity in the brain: low contrast flatters psnr and wd",
    "grey_matter_ratio": "Grey matter / (grey matter + white matter + fluid) of the scan's segmentation",
    "inter_site_wd": "Mean Wasserstein distance of histograms between scans of different sites",
    "feature_inter_site": "Mean distance of the sites' centroids in the features of a random 3D ResNet-18",
    "feature_intra_site": "Mean distance of scans to the centroid of their site in the same features",
    "site_accuracy": "Balanced accuracy of a site classifier that was trained on this method's own outputs "
    "and cross-validated by subject; p from permuted sites",
    "site_chance": "Balanced accuracy of guessing: 1 / number of sites",
    "site_null_high": "95th percentile of the accuracy with permuted sites; below it sites are not "
    "distinguished",
    "age_mae": "Mean absolute error of age, years, by ridge regression on this method's own features, "
    "cross-validated by subject",
    "age_mae_of_mean": "The same error if the mean age of the training folds is predicted for all, years",
    "grey_matter_age_r": "Pearson's correlation of the grey-matter ratio with age over subjects; p of the "
    "difference to the raw one, Fisher's z of dependent correlations",
    "grey_matter_age_z": "That test's z; 0 where nothing changed",
    "regional_grey_matter": "Grey matter of all regions of the scan, ml in template space. Regions are "
    "blocks of 36 mm that hold grey matter",
    "regional_site_accuracy": "site_accuracy of the regional grey-matter volumes in place of image features",
    "regional_site_chance": "site_chance of the same",
    "regional_site_null_high": "site_null_high of the same",
    "regional_age_mae": "age_mae of the regional grey-matter volumes in place of image features, years",
    "regional_age_mae_of_mean": "age_mae_of_mean of the same, years",
    "regional_grey_matter_age_r": "Pearson's correlation of regional_grey_matter with age over subjects; p "
    "of the difference to the raw one, Fisher's z of dependent correlations",
    "regional_grey_matter_age_z": "That test's z; 0 where nothing changed",
}


@dataclass(frozen=True)
class EvaluationRow:
    """One value of a metric; :func:`evaluation_dictionary` explains the fields. ``value`` may be infinite."""

    space: str
    level: str
    method: str
    measure: str
    value: float
    sd: float | None = None
    n: int | None = None
    p: float | None = None
    participant_id: str | None = None
    scan: str | None = None
    site: str | None = None
    other_scan: str | None = None
    other_site: str | None = None

    def record(self) -> dict[str, Any]:
        """Give the row as a record.

        Returns:
            Cells by column name: None for what is missing or not finite, numbers with six significant digits.

        Examples:
            >>> row = EvaluationRow("MNI", PAIR, "Raw", "psnr", math.inf)
            >>> row.record()["value"] is None
            True
        """
        return {name: _cell(value) for name, value in asdict(self).items()}


def evaluation_dictionary() -> dict[str, dict[str, Any]]:
    """Explain the columns of the table.

    Returns:
        A BIDS data dictionary: column name to description, in the order of the columns.
    """
    texts: dict[str, dict[str, Any]] = {
        "space": {"Description": "Template space of the scans"},
        "level": {
            "Description": "Unit of the value",
            "Levels": {
                PAIR: "Two scans of one travelling subject, at two sites",
                SCAN: "One scan, compared with its own raw version",
                STUDY: "All pairs, scans or subjects in the evaluation",
            },
        },
        "method": {
            "Description": "Raw, a control, or MMH: the study's harmonized scans. ComBat corrects the raw "
            "volumes and has regional measures only"
        },
        "measure": {"Description": "Metric", "Levels": dict(METRICS)},
        "value": {"Description": "Value of the metric; at level study the mean if n is not n/a"},
        "sd": {"Description": "Standard deviation over the n pairs or scans"},
        "n": {"Description": "Number of pairs, scans or subjects"},
        "p": {
            "Description": "Two-sided p: Wilcoxon signed-rank test against raw, or as defined by the metric"
        },
        "participant_id": {"Description": "Participant, with sub-"},
        "scan": {"Description": "Scan that the method was applied to"},
        "site": {"Description": "Its site"},
        "other_scan": {"Description": "Scan of the same subject that it is compared with"},
        "other_site": {"Description": "Its site"},
    }
    return {field.name: texts[field.name] for field in fields(EvaluationRow)}


def _cell(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
