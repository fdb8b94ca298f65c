"""Rows and columns of the study tables, and their data dictionary."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NO_SITE = "n/a"
STATISTICS: Mapping[str, str] = {
    "mean": "Mean scaled intensity inside the brain mask",
    "std": "Standard deviation of the scaled intensity inside the brain mask",
    "median": "Median scaled intensity inside the brain mask",
    "p01": "1st percentile of the scaled intensity inside the brain mask",
    "p25": "25th percentile of the scaled intensity inside the brain mask",
    "p75": "75th percentile of the scaled intensity inside the brain mask",
    "p99": "99th percentile of the scaled intensity inside the brain mask",
    "skewness": "Skewness of the scaled intensity inside the brain mask",
    "entropy": "Shannon entropy, in bits, of the histogram of 100 bins over [-1, 1]",
    "quartile_dispersion": "(p75 - p25) / (p75 + p25 + 2), a measure of contrast that is robust to outliers",
    "out_of_range": "Fraction of voxels outside [-1, 1], which the histogram leaves out",
}
IDENTITY: Mapping[str, str] = {
    "participant_id": "Participant, with sub-",
    "session_id": "Session, with ses-; n/a for a dataset without sessions",
    "scan": "Name of the source scan: its entities and its suffix",
    "site": "Site of the scan; n/a where it is not known",
    "space": "Template space of the scan",
    "state": "Processing state of the scan",
    "age": "Age in years, from participants.tsv",
    "model_split": "Part that the subject had in the training of the model",
}
VERDICT: Mapping[str, str] = {
    "histogram_distance": "Wasserstein distance (mean absolute difference of the cumulative distributions) "
    "of the scan's histograms before and after, 0 to 1: how far harmonization moved its intensities",
    "anatomy_preservation": "Cosine similarity of the gradient vectors before and after inside the brain: 1 "
    "where the anatomy is unchanged, negative where the contrast was inverted",
    "anatomical_change": "What no local parabola of intensity explains of the change: its 99.99th "
    "percentile inside the brain, scaled units",
    "model": "Name of the model that harmonized the scan",
    "model_sha256": "SHA-256 of the model's weights",
    "target": "Site that the model brings scans to; unified for the domain of Stage I",
    "encoder": "Slice encoder that saw the styles when the model was fine-tuned to its target",
    "configuration_hash": "Hash of the options that change results",
    "warnings": "Quality warnings of the scan, separated by semicolons",
    "problem": "Why the scan's sidecar could not be used",
    "suggestion": "Recommended action for an outlier",
    "outlier_reasons": "Reasons: robust z of its intensities within the site, size of the brain "
    "mask, anatomy preservation, quality warnings",
}


@dataclass(frozen=True)
class ScanRow:
    """One scan of the study table.

    Attributes:
        participant_id: With ``sub-``.
        session_id: With ``ses-``, or None.
        scan: Entities and suffix of the source scan.
        sequence: Suffix: ``T1w``, ``T2w``, ...
        space: Label of the template space.
        harmonized: Whether this is a harmonized scan; else it was preprocessed only.
        site: Site, or None where it is not known.
        before: Statistics by name, without the histogram; empty where unknown.
        after: The same after harmonization.
        histogram_before: Density of 100 bins over [-1, 1], or None.
        histogram_after: The same after harmonization, or None.
        histogram_distance: Wasserstein distance of the two, or None.
        anatomy_preservation: Cosine similarity of gradient vectors, or None.
        anatomical_change: High percentile of what no local change of contrast explains, or None.
        model: Name of the model, or None.
        model_sha256: SHA-256 of its weights, or None.
        target: Site that it brings scans to, ``unified``, or None.
        encoder: Slice encoder of its fine-tuning, or None.
        configuration_hash: Hash of the options that change results, or None.
        warnings: Sentences from the sidecar.
        problem: Why the sidecar could not be used, or None.
        page: Address of the subject page relative to the group page, or None.
        sidecar: Address of the scan's sidecar relative to the group page, or None.
        age: Years, or None.
        model_split: ``train`` or ``validation`` if the model has seen the subject, or None.
        suggestion: ``exclude``, ``look`` or ``run again`` for an outlier, or None.
        outlier_reasons: Sentences on why it is an outlier.
    """

    participant_id: str
    session_id: str | None
    scan: str
    sequence: str
    space: str
    harmonized: bool
    site: str | None = None
    before: Mapping[str, float] | None = None
    after: Mapping[str, float] | None = None
    histogram_before: tuple[float, ...] | None = None
    histogram_after: tuple[float, ...] | None = None
    histogram_distance: float | None = None
    anatomy_preservation: float | None = None
    anatomical_change: float | None = None
    model: str | None = None
    model_sha256: str | None = None
    target: str | None = None
    encoder: str | None = None
    configuration_hash: str | None = None
    warnings: tuple[str, ...] = ()
    problem: str | None = None
    page: str | None = None
    sidecar: str | None = None
    age: float | None = None
    model_split: str | None = None
    suggestion: str | None = None
    outlier_reasons: tuple[str, ...] = ()

    @property
    def site_label(self) -> str:
        """The site as tables show it: ``n/a`` where it is not known."""
        return self.site or NO_SITE

    @property
    def state(self) -> str:
        """Processing state of the scan."""
        return "harmonized" if self.harmonized else "preprocessed"

    def record(self) -> dict[str, Any]:
        """Give the row as a record.

        Returns:
            Cells by column name, in the stable order of the columns; None for what is missing.
        """
        before, after = self.before or {}, self.after or {}
        cells: dict[str, Any] = {name: getattr(self, name) for name in IDENTITY}
        for name in STATISTICS:
            cells[f"{name}_before"], cells[f"{name}_after"] = before.get(name), after.get(name)
        cells.update({name: getattr(self, name) for name in VERDICT})
        cells["warnings"] = "; ".join(self.warnings) or None
        cells["outlier_reasons"] = "; ".join(self.outlier_reasons) or None
        return cells


def data_dictionary() -> dict[str, dict[str, Any]]:
    """Explain the columns of a study table.

    Returns:
        A BIDS data dictionary: column name to description, in the stable order of the columns.
    """
    entries: dict[str, dict[str, Any]] = {name: {"Description": text} for name, text in IDENTITY.items()}
    entries["state"]["Levels"] = {
        "harmonized": "Preprocessed and harmonized",
        "preprocessed": "Preprocessed only: the columns after harmonization are n/a",
    }
    entries["age"]["Units"] = "years"
    entries["model_split"]["Levels"] = {
        "train": "The model was trained on this subject: not part of the evaluation",
        "validation": "The training was monitored and stopped on this subject: not part of the evaluation",
    }
    for name, text in STATISTICS.items():
        for when in ("before", "after"):
            entries[f"{name}_{when}"] = {"Description": f"{text}, {when} harmonization"}
    entries.update({name: {"Description": text} for name, text in VERDICT.items()})
    entries["suggestion"]["Levels"] = {
        "exclude": "At least two reasons against the scan, or its anatomy is lost",
        "look": "One reason: look at the scan's page before you decide",
        "run again": "The sidecar cannot be used",
    }
    return entries
