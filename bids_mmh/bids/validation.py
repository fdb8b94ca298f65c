"""Whether a folder is a BIDS dataset: the quick look, and the official validator."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_mmh.errors import InvalidBidsError, NoInputError

LOGGER = logging.getLogger(__name__)

_FIRST = 3
# What the validator says of a link without content, and of sidecars and tables that belong to it.
_LINK = "SYMLINK_BROKEN"
_FOLLOWS_FROM_LINK = {"SIDECAR_WITHOUT_DATAFILE", "SCANS_FILENAME_NOT_MATCH_DATASET"}
# Image headers are left to preprocessing, which reads them anyhow; sourcedata, code and derivatives are no
# part of the dataset that is read. Both would cost minutes on thousands of scans.
_OPTIONS = ("--format", "json", "--ignoreWarnings", "--ignoreNiftiHeaders", "--prune")


def check_dataset(
    bids_dir: Path, *, skip_validation: bool = False, participant_labels: Collection[str] = ()
) -> None:
    """Check that ``bids_dir`` is there, and valid BIDS.

    A missing or empty folder is missing input (66): an unmounted disk or a wrong bind looks like that, and
    the BIDS-Apps execution specification keeps 16 for datasets that failed validation.

    Args:
        bids_dir: Raw dataset.
        skip_validation: Only look whether there is something to read.
        participant_labels: Subjects of the run without ``sub-``, all when empty; others' faults do not count.

    Raises:
        NoInputError: When the folder is missing, unreadable, a file, or empty.
        InvalidBidsError: When it has no ``dataset_description.json``, or the validator finds errors.
    """
    if not bids_dir.exists():
        raise NoInputError(
            f"The dataset {bids_dir} does not exist: check the path (and, in a container, its bind)."
        )
    if not bids_dir.is_dir():
        raise NoInputError(f"{bids_dir} is a file: give the folder of a BIDS dataset.")
    if not _has_entries(bids_dir):
        raise NoInputError(
            f"The dataset {bids_dir} is empty: check the path (and, in a container, its bind)."
        )
    if skip_validation:
        return
    if not (bids_dir / "dataset_description.json").is_file():
        raise InvalidBidsError(
            f"{bids_dir} is not a BIDS dataset, for it has no dataset_description.json: "
            "give the folder that holds the sub-* folders, or add that file."
        )
    _run_validator(bids_dir, participant_labels)


def _has_entries(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except PermissionError:
        raise NoInputError(f"The dataset {folder} cannot be read: check its permissions.") from None


def _run_validator(bids_dir: Path, participant_labels: Collection[str]) -> None:
    program = Path(sys.executable).with_name("bids-validator-deno")
    try:
        finished = subprocess.run(
            [str(program), *_OPTIONS, str(bids_dir)], capture_output=True, text=True, check=False
        )
        issues = json.loads(finished.stdout)["issues"]
    except (OSError, ValueError, KeyError) as error:
        LOGGER.warning("The BIDS validator %s could not run (%s); going on without it.", program, error)
        return
    errors = [issue for issue in issues["issues"] if issue.get("severity") == "error"]
    if errors := _that_count(errors, participant_labels):
        raise InvalidBidsError(_sentence(bids_dir, errors, issues.get("codeMessages", {})))


def _that_count(
    errors: Sequence[Mapping[str, Any]], participant_labels: Collection[str]
) -> list[Mapping[str, Any]]:
    """Leave out what concerns other subjects, and links without content.

    A dataset of datalad has links to what is not fetched yet. The scans of this run among them are named when
    they are read; the others do not matter.
    """
    unfetched = {_subject(error) for error in errors if error["code"] == _LINK}
    return [
        error
        for error in errors
        if error["code"] != _LINK
        and not (error["code"] in _FOLLOWS_FROM_LINK and _subject(error) in unfetched)
        and not (participant_labels and _subject(error) not in {None, *participant_labels})
    ]


def _subject(error: Mapping[str, Any]) -> str | None:
    """Label of the subject in whose folder an error is; None at the root."""
    found = re.match(r"/sub-([^/]+)/", error.get("location", ""))
    return found[1] if found else None


def _sentence(bids_dir: Path, errors: Sequence[Mapping[str, Any]], messages: Mapping[str, str]) -> str:
    """Summarise the first error of each kind."""
    by_code = {issue["code"]: issue for issue in reversed(errors)}
    kinds = [_describe(issue, messages) for issue in list(by_code.values())[::-1][:_FIRST]]
    more = ", ..." if len(by_code) > _FIRST else ""
    count = f"{len(errors)} error{'s' if len(errors) > 1 else ''}"
    return (
        f"{bids_dir} is not valid BIDS, with {count}: {'; '.join(kinds)}{more}. Correct the dataset, list "
        "the files in .bidsignore, or pass --skip-bids-validation."
    )


def _describe(issue: Mapping[str, Any], messages: Mapping[str, str]) -> str:
    location = issue.get("location") or next(iter(issue.get("affects", [])), "the dataset")
    code = issue["code"]
    text = messages.get(code, "").strip().partition("\n")[0].rstrip(".")
    return f"{code} in {location}" + (f" ({text})" if text else "")
