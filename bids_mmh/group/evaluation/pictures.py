"""Pictures of travelling subjects for the group page, in full resolution, one subject in memory."""

import logging
from collections.abc import Mapping

import nibabel as nib

from bids_mmh.derivatives.index import PREPROCESSED
from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.controls.methods import RAW
from bids_mmh.evaluation.subject_metrics import HARMONIZED, PairSimilarity, versions_of
from bids_mmh.group.evaluation.evaluate import PartEvaluation
from bids_mmh.group.evaluation.subject_jobs import read_both
from bids_mmh.preprocess.grid import Grid, model_grid
from bids_mmh.reports.figures.encode import encode
from bids_mmh.reports.figures.evaluation import fullest_slice, pair_figure, visits_figure
from bids_mmh.reports.group_evaluation import Picture

logger = logging.getLogger(__name__)

MOST_SITES = 6


def travelling_pictures(part: PartEvaluation) -> list[Picture]:
    """Draw the hardest pair by every method, and its subject at every site before and after.

    Args:
        part: The evaluation of one sequence and space.

    Returns:
        Two pictures, or none without travelling subjects or where a scan cannot be read.
    """
    pairs = [(subject, pair) for subject, metrics in (part.subjects or {}).items() for pair in metrics.pairs]
    if not pairs or part.files is None:
        return []
    # The pair that raw scans are least alike in: chosen by no method's result.
    subject, pair = min(pairs, key=lambda one: one[1].methods[RAW].ssim)
    try:
        return [_pair(part, subject, pair, part.files), _visits(part, subject, part.files)]
    except BadDataError as error:
        logger.warning("The pictures of travelling subjects are missing: %s", error)
        return []


def _pair(
    part: PartEvaluation, subject: str, pair: PairSimilarity, files: Mapping[str, DerivedScan]
) -> Picture:
    scan, other = files[pair.scan], files[pair.other]
    grid = _own_grid(scan)
    fit = part.fit_for(subject) if part.fit_for else None
    first, second = (read_both(one, grid) for one in (scan, other))
    images, others = dict(versions_of(first, fit)), dict(versions_of(second, fit))
    if part.target:
        others = dict.fromkeys(images, second.preproc)
    titles = {method: f"{method} ({scan.site})" if method == RAW else method for method in images}
    figure = pair_figure(
        {titles[method]: volume for method, volume in images.items()},
        {titles[method]: others[method] for method in images},
        (f"{'Target' if part.target else 'Raw'} ({other.site})", second.preproc),
        first.mask & second.mask,
    )
    below = (
        "the differences to the last column"
        if part.target
        else (f"the differences to the scan from {other.site} as the same method leaves it")
    )
    return Picture(
        encode(figure, "webp"),
        "webp",
        f"{subject} from {scan.site} by every method, and at {other.site}",
        f"{subject}, the subject whose raw scans differ most: the scan from {scan.site} as each method "
        f"leaves it, the raw scan from {other.site}, and below {below} (red: brighter). Differences should "
        "vanish while every fold stays where it is.",
    )


def _visits(part: PartEvaluation, subject: str, files: Mapping[str, DerivedScan]) -> Picture:
    first: dict[str, DerivedScan] = {}
    for scan in files.values():
        if scan.subject == subject:
            first.setdefault(scan.site, scan)
    sites = sorted(first, key=lambda site: (site != part.target, site))[:MOST_SITES]
    scans = [read_both(first[site], _own_grid(first[site])) for site in sites]
    level, _ = fullest_slice(scans[0].mask)
    figure = visits_figure(
        {
            RAW: [scan.preproc for scan in scans],
            HARMONIZED: [scan.harmonized for scan in scans if scan.harmonized is not None],
        },
        [f"{site} (target)" if site == part.target else site for site in sites],
        level,
    )
    return Picture(
        encode(figure, "webp"),
        "webp",
        f"{subject} at {len(sites)} sites, before and after",
        f"{subject} at {len(sites)} of {len(first)} sites: raw above, harmonized below. The lower row should "
        "look as if one scanner had made it.",
    )


def _own_grid(scan: DerivedScan) -> Grid:
    shape = nib.Nifti1Image.from_filename(scan.version(PREPROCESSED).with_suffix(".nii.gz")).shape
    return model_grid(model_grid(1.0).shape[0] / shape[0])
