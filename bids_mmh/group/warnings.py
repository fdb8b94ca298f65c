"""What is odd about a study as a whole, each in one sentence: sites, sequences, models, options."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from bids_mmh.bids.sites.assignment import lookalikes
from bids_mmh.reports.group_table import ScanRow

# What scans of one sequence must share to be compared, and what to do where they do not.
COMMON = {
    "space": ("lie in {count} spaces", "they are shown apart and never compared: use one template for all"),
    "model_sha256": ("were harmonized by {count} models", "harmonize all of them with one --model"),
    "configuration_hash": (
        "were made with {count} configurations",
        "run participant on all of them with the same options",
    ),
}
_CORRECT = "correct the dataset and run participant again, which only writes the site anew"


def study_warnings(rows: Sequence[ScanRow]) -> list[str]:
    """Say what is odd about the scans of a study.

    Args:
        rows: the scans; those with a problem are left out.
    """
    usable = [row for row in rows if not row.problem]
    return [*site_warnings(usable), *sequence_warnings(usable), *common_ground_warnings(usable)]


def site_warnings(rows: Sequence[ScanRow]) -> list[str]:
    """Say where sites are missing, few, small, or perhaps misspelled."""
    scans = Counter(row.site_label for row in rows if row.site)
    unknown = sum(row.site is None for row in rows)
    sentences = []
    if unknown:
        sentences.append(
            f"{unknown} of {len(rows)} scans have no site: they are harmonized, but not compared between "
            f"sites and never the target; {_CORRECT} (--site-from says where sites are written)."
        )
    for names in lookalikes(scans):
        named = " and ".join(f"'{name}' ({scans[name]} scans)" for name in names)
        sentences.append(
            f"The site names {named} differ only in case, spaces or punctuation and count as different "
            f"sites: if they are one, {_CORRECT}."
        )
    sentences += [
        f"'{rare}' is the site of one subject and looks like '{common}': if it is a slip, {_CORRECT}."
        for rare, common in _slips(rows)
    ]
    if len(scans) == 1 and not unknown:
        sentences.append(
            f"All {len(rows)} scans come from {next(iter(scans))}: there is nothing to harmonize within one "
            "site."
        )
    subjects = Counter(site for site, _ in {(row.site, row.participant_id) for row in rows if row.site})
    if len(subjects) > 1 and max(subjects.values()) == 1:
        sentences.append(
            f"Each of the {len(subjects)} sites has one subject: differences between sites cannot be "
            "separated from differences between subjects."
        )
    return sentences


def _slips(rows: Sequence[ScanRow]) -> Iterator[tuple[str, str]]:
    """Sites of one subject whose name is a few letters, but no number, away from that of a larger one."""
    subjects = Counter(site for site, _ in {(row.site, row.participant_id) for row in rows if row.site})
    common = {site: re.findall(r"\d+", site) for site, count in subjects.items() if count > 1}
    for rare in sorted(site for site, count in subjects.items() if count == 1):
        alike = [site for site, numbers in common.items() if numbers == re.findall(r"\d+", rare)]
        near = get_close_matches(rare, alike, n=1, cutoff=0.8)
        if near and not lookalikes([rare, near[0]]):
            yield rare, near[0]


def sequence_warnings(rows: Sequence[ScanRow]) -> list[str]:
    """Say which sequences only some sites have."""
    sites = {row.site for row in rows if row.site}
    sentences = []
    for sequence in sorted({row.sequence for row in rows}):
        lacking = sorted(sites - {row.site for row in rows if row.sequence == sequence and row.site})
        if lacking and len(lacking) < len(sites):
            sentences.append(
                f"There is no {sequence} scan at {', '.join(lacking)}: {sequence} scans are harmonized and "
                "compared among the other sites."
            )
    return sentences


def common_ground_warnings(rows: Sequence[ScanRow]) -> list[str]:
    """Say where scans of one sequence differ in their space, model or configuration.

    Args:
        rows: The scans of the study.

    Returns:
        One sentence for each difference, with counts; scans that do not tell are left out, and harmonized
        scans are not held against those that are not.
    """
    sentences = []
    for sequence in sorted({row.sequence for row in rows}):
        own = [row for row in rows if row.sequence == sequence]
        for attribute, (fault, remedy) in COMMON.items():
            harmonized = [row for row in own if row.harmonized]
            compared = (harmonized or own) if attribute == "configuration_hash" else own
            values = (getattr(row, attribute) for row in compared)
            counts = Counter(value for value in values if value is not None)
            if len(counts) > 1:
                named = ", ".join(f"{_short(value)}: {count}" for value, count in counts.most_common())
                sentences.append(f"{sequence} scans {fault.format(count=len(counts))} ({named}); {remedy}.")
        waiting = sum(not row.harmonized for row in own)
        if 0 < waiting < len(own):
            sentences.append(
                f"{waiting} of {len(own)} {sequence} scans are not harmonized: run group with --model."
            )
    return sentences


def _short(value: str) -> str:
    """Show a hash by its first digits, a name in full."""
    return value[:12] if len(value) >= 40 else value
