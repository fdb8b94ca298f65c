"""Any site as the target at once: a model's networks with the style of the site's scans, without training."""

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh import __version__
from bids_mmh.bids.atomic import write_json, write_text
from bids_mmh.derivatives.models import UNIFIED, ModelReference, require_sequences, resolve_model
from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.group.target_site import StudyTarget
from bids_mmh.method.config import BACKGROUND
from bids_mmh.reports.group_table import ScanRow
from bids_mmh.runtime.locks import file_lock
from bids_mmh.runtime.processes import Process
from bids_mmh.settings import AUTO, EMBEDDED_MODEL, MODELS_FOLDER, NO_TARGET, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from bids_mmh.method.harmonizer import Harmonizer
    from bids_mmh.method.target_style import TargetStyles

logger = logging.getLogger(__name__)

RECORD_FILE = "transfer.json"

_CARD = """# Model card: {name}

The networks of the model {base} ({sha256}), with the style of the site {site} in place of its domain.
Written by bids-mmh {version} on {created}; nothing was trained.

- Style: mean over {count} scans of {subjects} subjects at {site} (`target_styles.safetensors`). For a
subject who was
  scanned there, the mean is that of the others.
- What the networks can and cannot do is in the card of {base}.
"""


def wants_transfer(settings: Settings, rows: Sequence[ScanRow]) -> bool:
    """Whether a run asks for a target site without a fit.

    It does not where a model is named that leads to a site by itself, or where all scans were brought to the
    wanted site before: then the site is only the one to compare at.

    Args:
        settings: options of the run.
        rows: the scans of the study.
    """
    asked = "target_site" in settings.model_fields_set and settings.target_site != NO_TARGET
    if settings.fit is not None or not asked:
        return False
    if settings.model is None and rows and all(row.target not in (None, UNIFIED) for row in rows):
        return any(row.target != settings.target_site for row in rows) and settings.target_site != AUTO
    return resolve_model(settings.model or EMBEDDED_MODEL, settings.output_dir).target == UNIFIED


def transfer_model(
    settings: Settings, scans: Sequence[DerivedScan], target: StudyTarget, process: Process
) -> ModelReference:
    """Write the model that leads to the target site, or give back the one that is there.

    Args:
        settings: options of the run.
        scans: preprocessed scans of the study.
        target: the target site.
        process: which one of a run this is; the first one writes, the others wait for its lock.

    Returns:
        The model, in ``models/to-<site>`` of the output folder, or under ``--fit-name``.

    Raises:
        NoInputError: no site qualifies, or it lacks a sequence.
        UsageError: the model does not know a sequence, or another model has the name.
        TryAgainError: another run writes this model.
    """
    base = resolve_model(settings.model or EMBEDDED_MODEL, settings.output_dir)
    require_sequences(base, (scan.sequence for scan in scans))
    there = _scans_at(target, scans)
    folder = settings.output_dir / MODELS_FOLDER / model_name(settings, str(target.site))
    record = {"site": str(target.site), "base": base.sha256, "scans": _digest(there)}
    with file_lock(folder / ".fit.lock") if process.is_first else nullcontext():
        if _read(folder) != record:
            _write(folder, base, there, record)
    return resolve_model(str(folder))


def model_name(settings: Settings, site: str) -> str:
    """Folder of a site's model: ``--fit-name`` where it is given, else ``to-<site>`` in safe characters."""
    if "fit_name" in settings.model_fields_set:
        return settings.fit_name
    safe = re.sub(r"[^A-Za-z0-9]+", "-", site).strip("-")
    if safe == site:
        return f"to-{site}"
    return f"to-{safe}-{hashlib.sha256(site.encode()).hexdigest()[:6]}"


def _scans_at(target: StudyTarget, scans: Sequence[DerivedScan]) -> list[DerivedScan]:
    if target.site is None:
        raise NoInputError(
            f"No site has {target.min_scans} scans of every sequence, so none can be the automatic target: "
            "name one (--target-site), or ask for fewer scans (--min-site-scans)."
        )
    there = [scan for scan in scans if scan.fields.site == target.site]
    lacking = sorted({scan.sequence for scan in scans} - {scan.sequence for scan in there})
    if lacking:
        known = " ".join(sorted({scan.sequence for scan in there}))
        raise NoInputError(
            f"The target site {target.site} has no {' and no '.join(lacking)} scan for others to be like: "
            f"choose another --target-site, or --sequences {known}."
        )
    return there


def _write(folder: Path, base: ModelReference, scans: Sequence[DerivedScan], record: dict[str, str]) -> None:
    from bids_mmh.method.harmonizer import Harmonizer

    if folder.is_dir() and not (folder / RECORD_FILE).exists() and any(folder.glob("*.safetensors")):
        raise UsageError(f"{folder} holds another model: give this one another --fit-name.")
    model = Harmonizer.from_pretrained(base.folder)
    made = model.towards(record["site"], styles_of(model, scans))
    made.save_pretrained(folder)
    card = _CARD.format(
        name=folder.name,
        base=base.name,
        sha256=base.sha256[:12],
        site=record["site"],
        version=__version__,
        created=datetime.now(UTC).date().isoformat(),
        count=len(scans),
        subjects=len({scan.subject for scan in scans}),
    )
    write_text(folder / "README.md", card)
    write_json(folder / RECORD_FILE, record)  # the last file: the model is whole
    logger.info("Wrote the model %s: the style of %d scans at %s.", folder.name, len(scans), record["site"])


def styles_of(model: "Harmonizer", scans: Sequence[DerivedScan]) -> "TargetStyles":
    """Measure the styles of preprocessed scans, one volume in memory at a time.

    Args:
        model: whose grid, sequences and tissue priors are used.
        scans: of any subjects.
    """
    from bids_mmh.method.target_style import gather_styles

    styles = []
    for scan in scans:
        volume, mask, index = on_grid(model, scan)
        style = model.style(volume, model.anchor(volume, mask, index))
        styles.append(style.map(lambda values: values.cpu()))
    indices = [model.sequence_index(scan.sequence) for scan in scans]
    return gather_styles([scan.subject for scan in scans], indices, styles)


def on_grid(model: "Harmonizer", scan: DerivedScan) -> "tuple[Tensor, Tensor, Tensor]":
    """A scan, its brain mask and its sequence index as the model takes them, where it is; batch size 1."""
    import torch

    from bids_mmh.training.data.scans import load_on_grid

    device = model.records.mean.device
    volume = torch.from_numpy(load_on_grid(scan, model.config.shape)).float()[None, None].to(device)
    index = torch.tensor([model.sequence_index(scan.sequence)], device=device)
    return volume, volume > BACKGROUND, index


def _digest(scans: Sequence[DerivedScan]) -> str:
    parts = sorted(f"{scan.image.name} {scan.fields.raw_fingerprint}" for scan in scans)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _read(folder: Path) -> dict[str, str] | None:
    try:
        return dict(json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
