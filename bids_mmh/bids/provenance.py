"""Where results come from: BIDS URIs, sidecars, and the files that describe the derivative dataset."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_mmh import __version__
from bids_mmh.bids.atomic import write_json, write_text, write_tsv
from bids_mmh.errors import CannotCreateError

APP_NAME = "bids-mmh"
CODE_URL = "https://github.com/bids-mmh/bids-mmh"
BIDS_VERSION = "1.10.1"

# Folders without the closing slash, which the validator does not match below the root.
_BIDSIGNORE = "*.html\nlogs\nfigures\n*_xfm.*\ngroup_*\nevaluation_*\nmodels\n"

# What a run writes before it describes the dataset.
_BEFORE_DESCRIPTION = ("logs", "models")

_README = """# bids-mmh derivatives

Structural MRI harmonized by bids-mmh. `desc-preproc` images are preprocessed only, `desc-harmonized` images
are harmonized; `descriptions.tsv` explains every `desc-` label. Images with `space-` are in that standard
space, images without are on the grid of the scan they come from. Every sidecar names its sources.
Open `sub-*.html` to look at a subject; `logs/` holds the settings of each run and `logs/CITATION.md` a text
for the methods section.
"""


def bids_uri(dataset: str, path: Path, root: Path) -> str:
    """Name a file of a dataset so that it can be found from another one.

    Args:
        dataset: Name of the dataset in ``DatasetLinks``; the empty string for the dataset itself.
        path: The file.
        root: Root folder of that dataset.

    Returns:
        ``bids:raw:sub-01/anat/sub-01_T1w.nii.gz``.

    Raises:
        ValueError: When ``path`` does not lie below ``root``.
    """
    return f"bids:{dataset}:{path.relative_to(root).as_posix()}"


def dataset_description(
    *,
    bids_dir: Path,
    configuration_hash: str,
    derivatives: Mapping[str, Path] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """Describe the derivative dataset.

    Args:
        bids_dir: Raw dataset. Its licence is inherited and its DOI named, where its own description has them.
        configuration_hash: Of the options that alter results (``settings.configuration_hash``).
        derivatives: Root folders, by name, of the derivative datasets that the run could take files from.
        environ: Environment that says which container this is: ``BIDS_MMH_DOCKER_TAG`` set by the image,
            or the path that Apptainer and Singularity set.

    Returns:
        Content of ``dataset_description.json``.
    """
    raw = _read_description(bids_dir / "dataset_description.json")
    generated_by: dict[str, Any] = {
        "Name": APP_NAME,
        "Version": __version__,
        "CodeURL": CODE_URL,
        "ConfigurationHash": configuration_hash,
    }
    container = _container(environ)
    if container:
        generated_by["Container"] = container
    source = {"URL": bids_dir.as_uri()}
    if raw.get("DatasetDOI"):
        source["DOI"] = raw["DatasetDOI"]
    description = {
        "Name": f"{raw.get('Name') or bids_dir.name}, harmonized by {APP_NAME}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generated_by],
        "SourceDatasets": [source],
        "DatasetLinks": {
            name: folder.as_uri() for name, folder in {"raw": bids_dir, **(derivatives or {})}.items()
        },
        "HowToAcknowledge": "Please use the text and the references in logs/CITATION.md.",
    }
    return description | ({"License": raw["License"]} if raw.get("License") else {})


def write_dataset_files(out_dir: Path, description: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """Write what makes ``out_dir`` a derivative dataset.

    That is ``dataset_description.json``, ``.bidsignore``, ``README``, and ``descriptions.tsv`` with its
    sidecar, which explains the ``desc-`` labels.

    Args:
        out_dir: Output folder.
        description: Content of ``dataset_description.json``.
        labels: Label of ``desc-`` to what it means.

    Raises:
        CannotCreateError: When ``out_dir`` already is another program's dataset.
    """
    _refuse_foreign_dataset(out_dir)
    write_json(out_dir / "dataset_description.json", description)
    write_text(out_dir / ".bidsignore", _BIDSIGNORE)
    write_text(out_dir / "README", _README)
    rows = [{"desc_id": f"desc-{label}", "description": text} for label, text in labels.items()]
    write_tsv(out_dir / "descriptions.tsv", rows, ["desc_id", "description"])
    columns = {"desc_id": "Label of the desc- entity", "description": "What the label means"}
    write_json(out_dir / "descriptions.json", {name: {"Description": text} for name, text in columns.items()})


def check_output_is_ours(out_dir: Path, *, work_dir: Path | None = None) -> None:
    """Refuse a folder with files of others: some of ours would take the place of theirs.

    Args:
        out_dir: Output folder; it need not exist.
        work_dir: Work folder, which may lie in it.

    Raises:
        CannotCreateError: When it is another program's dataset, or none and not empty. Hidden files, logs and
            models of a run that was stopped early do not count.
    """
    _refuse_foreign_dataset(out_dir)
    if (out_dir / "dataset_description.json").exists() or not out_dir.is_dir():
        return
    inside = work_dir.relative_to(out_dir).parts[:1] if work_dir and work_dir.is_relative_to(out_dir) else ()
    foreign = sorted(
        path.name
        for path in out_dir.iterdir()
        if path.name not in {*_BEFORE_DESCRIPTION, *inside}
        and (not path.name.startswith(".") or path.name == ".bidsignore")
    )
    if foreign:
        raise CannotCreateError(
            f"The output folder {out_dir} holds files that are not of {APP_NAME} ({', '.join(foreign[:3])}"
            f"{', ...' if len(foreign) > 3 else ''}), and some could be overwritten: choose an empty folder."
        )


def _refuse_foreign_dataset(out_dir: Path) -> None:
    path = out_dir / "dataset_description.json"
    generators = _read_description(path).get("GeneratedBy")
    generators = generators if isinstance(generators, list) else []
    names = [item.get("Name") for item in generators if isinstance(item, dict)]
    if path.exists() and APP_NAME not in names:
        raise CannotCreateError(
            f"{path} belongs to another dataset{f' ({names[0]})' if names else ''}, and {APP_NAME} does not "
            "overwrite it: choose an output folder of its own."
        )


def _read_description(path: Path) -> dict[str, Any]:
    """Read a ``dataset_description.json``; an absent or unreadable one is empty."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _container(environ: Mapping[str, str]) -> dict[str, str]:
    """Fields of ``Container``, empty outside of one."""
    image = environ.get("APPTAINER_CONTAINER") or environ.get("SINGULARITY_CONTAINER")
    tag = environ.get("BIDS_MMH_DOCKER_TAG")
    if image:
        return {"Type": "singularity", "URI": Path(image).as_uri() if image.startswith("/") else image}
    return {"Type": "docker", "Tag": tag} if tag else {}
