"""A sweep of depth and steps: a table, a figure and, if asked for, a model with the best setting."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.bids.atomic import write_tsv
from bids_mmh.derivatives.models import resolve_model
from bids_mmh.errors import CannotCreateError, UsageError
from bids_mmh.files import atomic_path
from bids_mmh.participant.harmonize import choose_device
from bids_mmh.settings import model_location

if TYPE_CHECKING:
    from bids_mmh.evaluation.scans import ScanArrays
    from bids_mmh.method.config import ModelConfig
    from bids_mmh.method.harmonizer import Harmonizer
    from bids_mmh.training.sweep.depth_sweep import SamplingSetting, SettingMetrics

logger = logging.getLogger(__name__)

COLUMNS = ("depth", "inversion_steps", "sampling_steps", "wd", "ssim", "anatomy")
RULE = "lowest inter-site WD among the settings whose SSIM is within 0.005 of the best"
TRAVELLED = "between scans of one subject at different sites"
OWN_INPUT = "between each scan and its own input, because not every sequence has travelling subjects"


@dataclass(frozen=True)
class SweepOptions:
    """What to try, on whom, and where.

    Attributes:
        depths: timesteps to invert to.
        inversion_steps: T_f.
        sampling_steps: T_r.
        subjects: instead of the training and validation subjects of the model's split.
        max_scans: most scans of each sequence; None for all.
        spacing: voxel size in mm of the grid; never finer than the model's own.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        apply: folder for a copy of the model with the best setting.
    """

    depths: Sequence[int] = (10, 30, 60, 100)
    inversion_steps: Sequence[int] = (5, 15, 25, 35, 45)
    sampling_steps: Sequence[int] = (5, 15, 25, 35, 45)
    subjects: Sequence[str] = ()
    max_scans: int | None = None
    spacing: float = 2.0
    device: str = "auto"
    apply: Path | None = None


def run_sweep(model: str, derivatives: Sequence[Path], prefix: Path, options: SweepOptions) -> str:
    """Try all settings, write ``PREFIX.tsv`` (row by row) and ``PREFIX.png``, and return Markdown.

    Args:
        model: ``embedded`` or a model folder.
        derivatives: output folders of the participant level.
        prefix: path of the results without an extension.
        options: see there.

    Raises:
        BidsMmhError: options, model and scans do not fit together.
    """
    from bids_mmh.method.harmonizer import Harmonizer
    from bids_mmh.reports.sweep import sweep_markdown
    from bids_mmh.training.data.split import split_of
    from bids_mmh.training.sweep.depth_sweep import best_setting, measure, sampling_settings

    reference = resolve_model(model_location(model))
    settings = sampling_settings(options.depths, options.inversion_steps, options.sampling_steps)
    if options.apply is not None:
        _check_copy(options.apply, is_stage2=reference.config.target is not None)
    split = split_of(reference.folder)
    scans = _scans(reference.config, derivatives, split, options)
    harmonizer = Harmonizer.from_pretrained(reference.folder, choose_device(options.device))
    before = measure(scans, scans)
    results = _try_all(harmonizer, scans, settings, before, prefix)
    best = best_setting(results)
    _write_figure(results, best, prefix)
    if options.apply is not None:
        _write_copy(harmonizer, best, options.apply, split)
    table = sweep_markdown(before, results, best)
    return "\n\n".join([f"Stage I of {reference.name} on {_basis(scans)}", table, _choice(best)])


def _scans(
    config: "ModelConfig", derivatives: Sequence[Path], split: Path | None, options: SweepOptions
) -> "list[ScanArrays]":
    from bids_mmh.training.data.scans import find_scans
    from bids_mmh.training.recipe import model_on_grid
    from bids_mmh.training.sweep.sweep_scans import choose_scans, read_scan, tuning_subjects

    found = find_scans(derivatives, config.sequences)
    chosen = choose_scans(found, tuning_subjects(found, split, options.subjects), options.max_scans)
    grid = model_on_grid(config, max(options.spacing, config.spacing))
    return [read_scan(scan, grid) for scan in chosen]


def _try_all(
    model: "Harmonizer",
    scans: "Sequence[ScanArrays]",
    settings: "Sequence[SamplingSetting]",
    before: "SettingMetrics",
    prefix: Path,
) -> "list[tuple[SamplingSetting, SettingMetrics]]":
    """Run the sweep; the table grows with every setting, so that an interrupted one leaves what it has."""
    from bids_mmh.training.sweep.depth_sweep import sweep

    logger.info("%d settings on %d scans.", len(settings), len(scans))
    results: list[tuple[SamplingSetting, SettingMetrics]] = []
    _write_table(results, before, prefix)
    for setting, metrics in zip(settings, sweep(model, scans, settings), strict=True):
        results.append((setting, metrics))
        _write_table(results, before, prefix)
        logger.info("%s: inter-site WD %.4f, SSIM %.4f", setting, metrics.wd, metrics.ssim)
    return results


def _basis(scans: "Sequence[ScanArrays]") -> str:
    from bids_mmh.training.sweep.depth_sweep import all_travelled

    subjects, sites = {scan.subject for scan in scans}, {scan.site for scan in scans}
    return (
        f"{len(scans)} scans of {len(subjects)} subjects from {len(sites)} sites at "
        f"{scans[0].spacing[0]:g} mm. SSIM is {TRAVELLED if all_travelled(scans) else OWN_INPUT}."
    )


def _choice(best: "SamplingSetting") -> str:
    return (
        f"Best: depth {best.depth}, {best.inversion_steps} inversion steps, {best.sampling_steps} sampling "
        f"steps ({RULE})."
    )


def _write_table(
    results: "Sequence[tuple[SamplingSetting, SettingMetrics]]", before: "SettingMetrics", prefix: Path
) -> None:
    rows = [asdict(before), *(asdict(setting) | asdict(metrics) for setting, metrics in results)]
    try:
        write_tsv(prefix.with_name(f"{prefix.name}.tsv"), rows, COLUMNS)
    except OSError as error:
        raise CannotCreateError(f"{prefix}.tsv cannot be written ({error}): choose another --out.") from error


def _write_figure(
    results: "Sequence[tuple[SamplingSetting, SettingMetrics]]", best: "SamplingSetting", prefix: Path
) -> None:
    from bids_mmh.reports.sweep import sweep_figure

    quantities = {
        "inter-site WD": {astuple(setting): metrics.wd for setting, metrics in results},
        "SSIM": {astuple(setting): metrics.ssim for setting, metrics in results},
    }
    with atomic_path(prefix.with_name(f"{prefix.name}.png")) as partial:
        partial.write_bytes(sweep_figure(quantities, astuple(best)))


def _check_copy(folder: Path, *, is_stage2: bool) -> None:
    if is_stage2:
        raise UsageError(
            "--apply is for a Stage I model: Stage II was fine-tuned at the depth it has, so sweep the Stage "
            "I model (its `stage1` folder), apply, and train Stage II from the copy with --stage1."
        )
    if folder.exists() and any(folder.iterdir()):
        raise CannotCreateError(f"--apply {folder} is not an empty folder: choose another one.")


def _write_copy(model: "Harmonizer", best: "SamplingSetting", folder: Path, split: Path | None) -> None:
    """The model with the best setting; its split goes along, so that Stage II keeps to it."""
    from bids_mmh.training.sweep.depth_sweep import with_setting

    with_setting(model, best).save_pretrained(folder)
    if split is not None:
        (folder / "training").mkdir(exist_ok=True)
        shutil.copyfile(split, folder / "training" / "split.tsv")
