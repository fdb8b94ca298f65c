"""Train the study's own model on its preprocessed scans; what was fitted before is kept."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.bids.atomic import write_json
from bids_mmh.derivatives.fit_record import FitRecord, write_card
from bids_mmh.derivatives.models import ModelReference, require_sequences, resolve_model
from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.group.fit_check import FitCheck, check_fit
from bids_mmh.group.target_site import StudyTarget
from bids_mmh.runtime.locks import file_lock
from bids_mmh.runtime.processes import Process, device_of
from bids_mmh.settings import EMBEDDED_MODEL, MODELS_FOLDER, NO_TARGET, Settings

if TYPE_CHECKING:
    from bids_mmh.method.harmonizer import Harmonizer
    from bids_mmh.training.data.split import Split
    from bids_mmh.training.recipe import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Plan:
    """What is to be trained, from what, on whom.

    Attributes:
        recipe: for the stages that are to be trained.
        split: who trains, validates and tests.
        start: model whose network Stage I begins with; None for random weights.
        stage1: Stage I model that is fine-tuned as it is; None to train Stage I.
        source: what it begins with, in words.
    """

    recipe: "Recipe"
    split: "Split"
    start: "Harmonizer | None"
    stage1: "Harmonizer | None"
    source: str


def fit_study(
    settings: Settings, scans: Sequence[DerivedScan], target: StudyTarget, process: Process
) -> ModelReference:
    """Train a model as ``--fit`` asks, or give back the one that was trained by this name before.

    Args:
        settings: options of the run.
        scans: preprocessed scans of the study.
        target: the site to fine-tune to.
        process: which one of a run this is; all of them train, the first one writes.

    Returns:
        The model, in ``models/<fit_name>`` of the output folder.

    Raises:
        UsageError: options do not fit together, or another model has the name.
        NoInputError: there is no subject to train on, or no site to fine-tune to.
        TryAgainError: another run trains this model.
    """
    folder = settings.output_dir / MODELS_FOLDER / settings.fit_name
    asked, earlier = FitRecord.asked(settings), FitRecord.read(folder)
    subjects = tuple(sorted({scan.subject for scan in scans}))
    if earlier is not None and earlier.answers(asked, settings.fit_name):
        _say_kept(settings.fit_name, set(subjects) - set(earlier.subjects))
        return resolve_model(str(folder))
    if asked.has_target:
        _check_target(target, scans)
    with file_lock(folder / ".fit.lock") if process.is_first else nullcontext():
        plan = _plan(settings, folder, scans, target.site if asked.has_target else None, earlier)
        _train(settings, folder, scans, plan, process)
        if process.is_first:
            goal = str(target.site) if asked.has_target else NO_TARGET
            made = replace(asked, target=goal, subjects=subjects)
            target.write(folder / "training")
            write_json(folder / "training" / "recipe.json", asdict(plan.recipe))
            counts = {part: len(getattr(plan.split, part)) for part in ("train", "validation", "test")}
            checks = _check(settings, folder, scans, plan, process) if asked.has_target else []
            write_card(folder, made, plan.source, counts, [check.sentence for check in checks])
            made.write(folder)
    return resolve_model(str(folder))


def _say_kept(name: str, newcomers: set[str]) -> None:
    """Say that a model is there already, and who has come to the study since."""
    logger.info("The model %s was fitted before and is kept.", name)
    if newcomers:
        logger.info(
            "It was fitted without %d subjects that came later; they are harmonized with it all the same. "
            "Another --fit-name fits a model with them.",
            len(newcomers),
        )


def _check_target(target: StudyTarget, scans: Sequence[DerivedScan]) -> None:
    sites = {scan.fields.site for scan in scans} - {None}
    if len(sites) < 2:
        only = f"come from {next(iter(sites))}" if sites else "have no site"
        raise NoInputError(
            f"The scans {only}: Stage II takes scans of one site to another. --fit stage1 does without sites."
        )
    if target.site is None:
        raise NoInputError(
            f"No site has {target.min_scans} scans of every sequence, so none can be the automatic target: "
            "name one (--target-site), ask for fewer scans (--min-site-scans) or for one sequence "
            "(--sequences T1w), or do without a target (--fit stage1)."
        )
    there = {scan.sequence for scan in scans if scan.fields.site == target.site}
    lacking = sorted({scan.sequence for scan in scans} - there)
    if lacking:
        raise NoInputError(
            f"The target site {target.site} has no {' and no '.join(lacking)} scan for others to be like: "
            f"choose another --target-site, or --sequences {' '.join(sorted(there))}."
        )


def _plan(
    settings: Settings,
    folder: Path,
    scans: Sequence[DerivedScan],
    target: str | None,
    earlier: FitRecord | None,
) -> _Plan:
    """Make up what to train; nothing is written."""
    from bids_mmh.training.recipe import Stage2Recipe
    from bids_mmh.training.run import stage1_of

    recipe = _recipe(settings, scans)
    stage2 = replace(recipe.stage2 or Stage2Recipe(), target_site=target) if target else None
    recipe = replace(recipe, stage2=stage2)
    begin = _begin_with(settings, folder, earlier)
    split = _split(settings, folder, recipe, scans, begin)
    if begin is None:
        return _Plan(recipe, split, None, None, "random weights")
    require_sequences(begin, (scan.sequence for scan in scans))
    ready = stage1_of(begin.folder)
    source = f"the model {begin.name} ({begin.sha256[:12]})"
    if settings.fit == "stage2" or earlier is not None:
        ready.config = replace(ready.config, name=settings.fit_name)
        return _Plan(replace(recipe, model=ready.config), split, None, ready, source)
    # Stage I is trained on the recipe's grid, with network, depth and steps of the model it begins with.
    grid = recipe.model
    config = replace(ready.config, name=grid.name, spacing=grid.spacing, shape=grid.shape)
    return _Plan(replace(recipe, model=config), split, ready, None, source)


def _recipe(settings: Settings, scans: Sequence[DerivedScan]) -> "Recipe":
    """The recipe asked for, or that of the device; for the sequences that there are."""
    from bids_mmh.participant.harmonize import choose_device
    from bids_mmh.training.recipe import load_recipe

    kind = "cpu" if choose_device(settings.device) == "cpu" else "gpu"
    default = Path(str(files("bids_mmh.resources"))) / "recipes" / f"{kind}.toml"
    recipe = load_recipe(settings.recipe or default)
    if recipe.travelling == "train":
        raise UsageError(
            f"{settings.recipe} trains on travelling subjects (travelling = 'train'), but group measures the "
            "result on them: leave that out, or train with bids-mmh-train."
        )
    sequences = tuple(name for name in settings.sequences if any(scan.sequence == name for scan in scans))
    return replace(recipe, model=replace(recipe.model, name=settings.fit_name, sequences=sequences))


def _begin_with(settings: Settings, folder: Path, earlier: FitRecord | None) -> ModelReference | None:
    """The model to begin with; None for random weights."""
    if earlier is not None:
        return resolve_model(str(folder))  # its Stage I is there, and Stage II is to come
    if settings.model is not None:
        return resolve_model(settings.model, settings.output_dir)
    return resolve_model(EMBEDDED_MODEL) if settings.fit == "stage2" else None


def _split(
    settings: Settings,
    folder: Path,
    recipe: "Recipe",
    scans: Sequence[DerivedScan],
    begin: ModelReference | None,
) -> "Split":
    """Who trains, validates and tests: by the table given, else as earlier runs placed them."""
    from bids_mmh.training.data.split import (
        make_split,
        read_split,
        split_of,
        study_split,
        travelling_subjects,
    )

    if settings.split is not None:
        split = make_split(scans, recipe, settings.split)
        wrong = sorted(travelling_subjects(scans) - split.test)
        if wrong:
            raise UsageError(
                f"{settings.split}: {wrong[0]} was scanned at several sites and belongs to 'test', as the "
                "result is measured on travelling subjects."
            )
        return split
    known: Mapping[str, str] = {}
    for place in (folder, begin.folder if begin else folder):
        table = split_of(place)
        known = {**(read_split(table) if table else {}), **known}
    return study_split(scans, recipe, known)


def _check(
    settings: Settings, folder: Path, scans: Sequence[DerivedScan], plan: _Plan, process: Process
) -> list[FitCheck]:
    """Compare what was fine-tuned with the same networks without it; who tests is not looked at."""
    from bids_mmh.participant.harmonize import choose_device

    assert plan.recipe.stage2 is not None
    seen = [scan for scan in scans if scan.subject not in plan.split.test]
    site, device = str(plan.recipe.stage2.target_site), device_of(choose_device(settings.device), process)
    return check_fit(folder, seen, site, plan.split.validation, device=device)


def _train(
    settings: Settings, folder: Path, scans: Sequence[DerivedScan], plan: _Plan, process: Process
) -> None:
    import torch

    from bids_mmh.training.engine import Compute
    from bids_mmh.training.run import train_on

    goal = f"to the site {plan.recipe.stage2.target_site}" if plan.recipe.stage2 else "to the unified domain"
    counts = (len(plan.split.train), len(plan.split.validation), len(plan.split.test))
    logger.info("Fitting %s %s, from %s.", settings.fit_name, goal, plan.source)
    logger.info("%d subjects train, %d validate, %d test: %s.", *counts, folder / "training" / "split.tsv")
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, settings.nprocs // process.local_count))
    try:
        train_on(
            plan.recipe,
            list(scans),
            plan.split,
            folder,
            compute=Compute(settings.device),
            start=plan.start,
            stage1=plan.stage1,
        )
    finally:
        torch.set_num_threads(threads)
