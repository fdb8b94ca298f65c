"""Paired tests of one method's metrics against another's."""

from collections.abc import Sequence

import numpy as np

from bids_mmh.errors import BadDataError

FEWEST_PAIRS = 6
"""With five pairs the smallest two-sided p of the test is 0.0625: nothing could be significant."""


def paired_test(method: Sequence[float], reference: Sequence[float]) -> tuple[float | None, str]:
    """Compare the metrics of two methods on the same pairs: Wilcoxon signed-rank test, two-sided.

    Pairs are taken as independent. Several scans of one subject compared with one scan at the target site are
    not quite, so that p is somewhat too small there.

    Args:
        method: One figure per pair.
        reference: The other method's, in the same order.

    Returns:
        The p-value and a sentence; None where there are fewer than six pairs, or the methods do not differ.

    Raises:
        BadDataError: If the two have not the same number of values.
    """
    from scipy.stats import wilcoxon

    first, second = np.asarray(method, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or np.isnan([first, second]).any():
        raise BadDataError(
            f"Figures of shapes {first.shape} and {second.shape} are not numbers of the same pairs."
        )
    if len(first) < FEWEST_PAIRS:
        return None, f"{len(first)} pairs are too few for a test: it takes {FEWEST_PAIRS}."
    # The PSNR of equal scans is infinite; the test looks at the ranks of the differences only.
    differences = np.nan_to_num(np.subtract(first, second, where=first != second, out=np.zeros_like(first)))
    if not differences.any():
        return None, "The two methods give the same values, so there is nothing to test."
    p = float(wilcoxon(differences).pvalue)
    return p, f"Wilcoxon signed-rank test on {len(first)} pairs: p = {p:.3g}."
