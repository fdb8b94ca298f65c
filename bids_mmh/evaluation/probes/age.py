"""Preservation of the relation to age: age predicted from features, and its correlation with grey matter."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_mmh.errors import BadDataError

FEWEST_SUBJECTS = 10
FOLDS = 5
PENALTIES = tuple(10.0**power for power in range(-1, 6))


@dataclass(frozen=True)
class AgeError:
    """Error of the age prediction for subjects that the regression has not seen.

    Attributes:
        mae: Mean absolute error, years.
        mae_of_mean: Mean absolute error of predicting the mean age of the training folds, years.
        scans: Number of scans.
        subjects: Number of subjects.
    """

    mae: float
    mae_of_mean: float
    scans: int
    subjects: int


@dataclass(frozen=True)
class AgeCorrelation:
    """Correlation of a quantity with age before and after harmonization, one value per subject.

    Attributes:
        before: Pearson's r with age, raw.
        after: Pearson's r with age, harmonized.
        z: Standard normal statistic of the difference of the two.
        p: Two-sided p-value: small if harmonization changed the relation to age.
        subjects: Number of subjects.
    """

    before: float
    after: float
    z: float
    p: float
    subjects: int


def age_error(
    features: ArrayLike, ages: Sequence[float | None], subjects: Sequence[str], *, seed: int = 0
) -> tuple[AgeError | None, str]:
    """Predict age by ridge regression on standardised features, cross-validated by subject.

    The penalty is chosen within the training folds by their own leave-one-out error.

    Args:
        features: Features of one method and sequence, shape (scans, features).
        ages: Age of the subject of each scan in years; scans of unknown age (None or NaN) are left out.
        subjects: The subject of each scan.
        seed: Random seed of the folds.

    Returns:
        The errors and a sentence, or None and the reason: too few subjects of known age, or all of one age.

    Raises:
        BadDataError: If features, ages and subjects differ in number.
    """
    rows, years, subject_ids = _known(features, ages, subjects)
    reason = _too_little(years, subject_ids)
    if reason:
        return None, reason
    predicted, mean = _predictions(rows, years, subject_ids, seed)
    result = AgeError(
        mae=float(np.abs(predicted - years).mean()),
        mae_of_mean=float(np.abs(mean - years).mean()),
        scans=len(years),
        subjects=len(set(subject_ids)),
    )
    sentence = (
        f"Age is predicted with a mean absolute error of {result.mae:.1f} years, against "
        f"{result.mae_of_mean:.1f} for the mean age, in {result.scans} scans of {result.subjects} subjects."
    )
    return result, sentence


def age_correlation(
    before: ArrayLike, after: ArrayLike, ages: Sequence[float | None], subjects: Sequence[str]
) -> tuple[AgeCorrelation | None, str]:
    """Compare the correlation of a quantity with age before and after harmonization.

    The quantity is a number for each scan, such as the grey-matter ratio.

    Scans of one subject are averaged, so that subjects are independent. The two correlations are not: they
    share the ages and the brains. The test is that of Meng, Rosenthal & Rubin 1992
    (doi:10.1037/0033-2909.111.1.172) on Fisher's z of dependent correlations, which assumes that the three
    variables are jointly normal. Fisher's test of independent correlations would miss most changes here.

    Args:
        before: The quantity of each scan, raw, shape (scans,).
        after: The quantity of each scan, harmonized, shape (scans,).
        ages: Age of the subject of each scan in years; scans of unknown age (None or NaN) are left out.
        subjects: The subject of each scan.

    Returns:
        The correlations and a sentence, or None and the reason: too few subjects of known age, or a variable
        that does not vary.

    Raises:
        BadDataError: If quantities, ages and subjects differ in number.
    """
    rows, years, subject_ids = _known(np.column_stack([before, after]), ages, subjects)
    reason = _too_little(years, subject_ids)
    if reason:
        return None, reason
    values = np.column_stack([rows, years])
    first, second, age = np.array(
        [values[subject_ids == subject].mean(axis=0) for subject in np.unique(subject_ids)]
    ).T
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None, "The quantity is the same in all subjects, so it has no correlation with age."
    r_first, r_second, r_both = (
        float(np.corrcoef(a, b)[0, 1]) for a, b in ((first, age), (second, age), (first, second))
    )
    z, p = _meng(r_first, r_second, r_both, len(age))
    sentence = (
        f"Correlation with age: {r_first:.2f} before, {r_second:.2f} after harmonization "
        f"(p = {p:.3f} for the difference, {len(age)} subjects)."
    )
    return AgeCorrelation(r_first, r_second, z, p, len(age)), sentence


def _known(
    features: ArrayLike, ages: Sequence[float | None], subjects: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.str_]]:
    rows, years = np.asarray(features, dtype=np.float64), np.asarray(ages, dtype=np.float64)
    subject_ids = np.asarray(subjects, dtype=str)
    if rows.ndim != 2 or not len(rows) == len(years) == len(subject_ids):
        raise BadDataError(
            f"{len(years)} ages and {len(subject_ids)} subjects do not label {len(rows)} scans."
        )
    known = np.isfinite(years)
    return rows[known], years[known], subject_ids[known]


def _too_little(years: NDArray[np.float64], subject_ids: NDArray[np.str_]) -> str | None:
    count = len(set(subject_ids))
    if count < FEWEST_SUBJECTS:
        return f"The age of {count} subjects is known: too few, {FEWEST_SUBJECTS} are needed."
    if np.ptp(years) == 0:
        return "All subjects have the same age."
    return None


def _predictions(
    rows: NDArray[np.float64], years: NDArray[np.float64], subject_ids: NDArray[np.str_], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ages predicted by the regression and by the mean, for each scan while its subject was left out."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    predicted, mean = np.empty_like(years), np.empty_like(years)
    for train, test in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(rows, years, subject_ids):
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(rows[train], years[train])
        predicted[test], mean[test] = model.predict(rows[test]), years[train].mean()
    return predicted, mean


def _meng(r_first: float, r_second: float, r_both: float, n: int) -> tuple[float, float]:
    """Test of two correlations with one variable, given the correlation of the other two."""
    from scipy.stats import norm

    if r_both >= 1 - 1e-12:
        return 0.0, 1.0
    square = (r_first**2 + r_second**2) / 2
    f = min(1.0, (1 - r_both) / (2 * (1 - square)))
    h = (1 - f * square) / (1 - square)
    z = (np.arctanh(r_first) - np.arctanh(r_second)) * np.sqrt((n - 3) / (2 * (1 - r_both) * h))
    return float(z), float(2 * norm.sf(abs(z)))
