"""Can a classifier still tell the sites apart? Trained on each method's own outputs.

A classifier trained on raw images and then frozen is fooled by anything that moves images away from them,
even a blur; one that is trained anew on the outputs is not.
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
    """How well sites are recognised in scans of subjects that the classifier has not seen.

    Attributes:
        balanced_accuracy: Mean over sites of the share of its scans that are recognised, in [0, 1].
        chance: 1 / number of sites.
        null_high: 95th percentile of the accuracy with permuted sites: below it, sites are not told apart.
        p: Share of the permutations (and of the figure itself) that do at least as well.
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
        features: Shape (scans, features), all of one method and sequence.
        sites: The site of each scan.
        subjects: The subject of each scan.
        seed: Decides the folds and the permutations.

    Returns:
        The result and a sentence, or None and the reason: one site only, fewer than four subjects, or a site
        that is only known from one subject.

    Raises:
        BadDataError: If features, sites and subjects are not of the same scans.
    """
    rows = np.asarray(features, dtype=np.float64)
    names, labels = np.unique(np.asarray(sites, dtype=str), return_inverse=True)
    people = np.asarray(subjects, dtype=str)
    if rows.ndim != 2 or not len(rows) == len(labels) == len(people):
        raise BadDataError(f"{len(labels)} sites and {len(people)} subjects do not label {len(rows)} scans.")
    reason = _too_little(names, labels, people)
    if reason:
        return None, reason
    folds = list(_folds(rows, labels, people, seed))
    accuracy = _accuracy(folds, labels)
    rng = np.random.default_rng(seed)
    null = np.array([_accuracy(folds, _shuffled(labels, people, rng)) for _ in range(PERMUTATIONS)])
    probe = SiteProbe(
        balanced_accuracy=accuracy,
        chance=1 / len(names),
        null_high=float(np.quantile(null, 0.95)),
        p=float((1 + (null >= accuracy).sum()) / (1 + PERMUTATIONS)),
        scans=len(rows),
        subjects=len(set(people)),
    )
    sentence = (
        f"Sites are recognised with a balanced accuracy of {accuracy:.2f} (chance {probe.chance:.2f}, "
        f"p = {probe.p:.3f}) in {probe.scans} scans of {probe.subjects} subjects."
    )
    return probe, sentence


def _too_little(names: NDArray[np.str_], labels: NDArray[np.intp], people: NDArray[np.str_]) -> str | None:
    if len(names) < 2:
        return "There is one site only, so there is nothing to classify."
    count = len(set(people))
    if count < FEWEST_SUBJECTS:
        return f"{count} subjects are too few to test a site classifier: it takes {FEWEST_SUBJECTS}."
    lonely = [name for i, name in enumerate(names) if len(set(people[labels == i])) < 2]
    if lonely:
        return f"Only one subject was at {', '.join(lonely)}, so that site cannot be learnt and tested."
    return None


def _folds(
    rows: NDArray[np.float64], labels: NDArray[np.intp], people: NDArray[np.str_], seed: int
) -> Iterator[Fold]:
    """Training and test features of each fold, reduced by what the training folds know, and their indices."""
    from sklearn.decomposition import PCA
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # No more folds than the largest site has scans, or stratifying is not possible.
    count = min(FOLDS, len(set(people)), int(np.bincount(labels).max()))
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for train, test in splitter.split(rows, labels, people):
        # As many components as the training scans span: nothing is lost, and a fit of few scans is quick.
        reduce = make_pipeline(StandardScaler(), PCA(min(len(train) - 1, rows.shape[1])))
        yield reduce.fit_transform(rows[train]), reduce.transform(rows[test]), train, test


def _accuracy(folds: Sequence[Fold], labels: NDArray[np.intp]) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import recall_score

    predicted = np.empty_like(labels)
    for train_rows, test_rows, train, test in folds:
        if len(set(labels[train])) < 2:  # nothing to learn: everybody is taken for the only site
            predicted[test] = labels[train][0]
            continue
        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        predicted[test] = model.fit(train_rows, labels[train]).predict(test_rows)
    return float(recall_score(labels, predicted, average="macro", zero_division=0))


def _shuffled(
    labels: NDArray[np.intp], people: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Sites as they could have been, were there no difference between them."""
    out = labels.copy()
    stayed: list[NDArray[np.intp]] = []
    for person in np.unique(people):
        own = np.flatnonzero(people == person)
        if len(set(labels[own])) > 1:
            out[own] = rng.permutation(labels[own])
        else:
            stayed.append(own)
    for own, site in zip(stayed, rng.permutation([labels[own[0]] for own in stayed]), strict=True):
        out[own] = site
    return out
