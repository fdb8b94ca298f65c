"""Site classification from features, by a classifier that is trained on each method's own outputs.

A classifier trained on raw images and then frozen is misled by anything that changes images, even a blur; one
that is retrained on the outputs is not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_mmh.errors import BadDataError

FEWEST_SUBJECTS = 4
FOLDS = 5
PERMUTATIONS = 100

Fold = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class SiteProbe:
    """Performance of the site classifier on scans of subjects that it has not seen.

    Attributes:
        balanced_accuracy: Mean over sites of the fraction of its scans that are recognised, in [0, 1].
        chance: 1 / number of sites.
        null_high: 95th percentile of the accuracy with permuted sites: below it, sites are not distinguished.
        p: Fraction of the permutations (and of the observation itself) with at least this accuracy.
        scans: Number of scans.
        subjects: Number of subjects.
    """

    balanced_accuracy: float
    chance: float
    null_high: float
    p: float
    scans: int
    subjects: int


def site_probe(
    features: ArrayLike, sites: Sequence[str], subjects: Sequence[str], *, seed: int = 0
) -> tuple[SiteProbe | None, str]:
    """Classify the site by logistic regression, cross-validated by subject.

    Features are standardised on the training folds. All scans of a subject are in one fold. For the
    permutations, sites are shuffled among the scans of each subject who was at several sites, and among the
    subjects who were at one only.

    Args:
        features: Features of one method and sequence, shape (scans, features).
        sites: The site of each scan.
        subjects: The subject of each scan.
        seed: Random seed of the folds and the permutations.

    Returns:
        The result and a sentence, or None and the reason: one site only, fewer than four subjects, or a site
        with a single subject.

    Raises:
        BadDataError: If features, sites and subjects differ in number.
    """
    rows = np.asarray(features, dtype=np.float64)
    names, labels = np.unique(np.asarray(sites, dtype=str), return_inverse=True)
    subject_ids = np.asarray(subjects, dtype=str)
    if rows.ndim != 2 or not len(rows) == len(labels) == len(subject_ids):
        raise BadDataError(
            f"{len(labels)} sites and {len(subject_ids)} subjects do not label {len(rows)} scans."
        )
    reason = _too_little(names, labels, subject_ids)
    if reason:
        return None, reason
    folds = list(_folds(rows, labels, subject_ids, seed))
    accuracy = _accuracy(folds, labels)
    rng = np.random.default_rng(seed)
    null = np.array([_accuracy(folds, _shuffled(labels, subject_ids, rng)) for _ in range(PERMUTATIONS)])
    probe = SiteProbe(
        balanced_accuracy=accuracy,
        chance=1 / len(names),
        null_high=float(np.quantile(null, 0.95)),
        p=float((1 + (null >= accuracy).sum()) / (1 + PERMUTATIONS)),
        scans=len(rows),
        subjects=len(set(subject_ids)),
    )
    sentence = (
        f"Sites are recognised with a balanced accuracy of {accuracy:.2f} (chance {probe.chance:.2f}, "
        f"p = {probe.p:.3f}) in {probe.scans} scans of {probe.subjects} subjects."
    )
    return probe, sentence


def _too_little(
    names: NDArray[np.str_], labels: NDArray[np.intp], subject_ids: NDArray[np.str_]
) -> str | None:
    if len(names) < 2:
        return "There is one site only, so there is nothing to classify."
    count = len(set(subject_ids))
    if count < FEWEST_SUBJECTS:
        return f"{count} subjects are too few to test a site classifier, which needs {FEWEST_SUBJECTS}."
    single = [name for i, name in enumerate(names) if len(set(subject_ids[labels == i])) < 2]
    if single:
        return f"Only one subject was at {', '.join(single)}: too few to train and test a classifier."
    return None


def _folds(
    rows: NDArray[np.float64], labels: NDArray[np.intp], subject_ids: NDArray[np.str_], seed: int
) -> Iterator[Fold]:
    """Training and test features of each fold, reduced by PCA of the training folds, and their indices."""
    from sklearn.decomposition import PCA
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # No more folds than the largest site has scans, or stratifying is not possible.
    count = min(FOLDS, len(set(subject_ids)), int(np.bincount(labels).max()))
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for train, test in splitter.split(rows, labels, subject_ids):
        # As many components as the training scans span: nothing is lost, and a fit of few scans is quick.
        reduce = make_pipeline(StandardScaler(), PCA(min(len(train) - 1, rows.shape[1])))
        yield reduce.fit_transform(rows[train]), reduce.transform(rows[test]), train, test


def _accuracy(folds: Sequence[Fold], labels: NDArray[np.intp]) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import recall_score

    predicted = np.empty_like(labels)
    for train_rows, test_rows, train, test in folds:
        if len(set(labels[train])) < 2:  # nothing to learn: all scans are assigned to the only site
            predicted[test] = labels[train][0]
            continue
        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        predicted[test] = model.fit(train_rows, labels[train]).predict(test_rows)
    return float(recall_score(labels, predicted, average="macro", zero_division=0))


def _shuffled(
    labels: NDArray[np.intp], subject_ids: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Sites as they could be if there were no difference between them."""
    out = labels.copy()
    stayed: list[NDArray[np.intp]] = []
    for subject in np.unique(subject_ids):
        own = np.flatnonzero(subject_ids == subject)
        if len(set(labels[own])) > 1:
            out[own] = rng.permutation(labels[own])
        else:
            stayed.append(own)
    for own, site in zip(stayed, rng.permutation([labels[own[0]] for own in stayed]), strict=True):
        out[own] = site
    return out
