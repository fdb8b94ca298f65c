"""Training from derivatives to a model folder, in one call."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import UsageError
from bids_mmh.method.harmonizer import Harmonizer, read_config
from bids_mmh.method.model_files import STAGE1_FOLDER, TRAINING_FOLDER
from bids_mmh.training.data.scans import find_scans
from bids_mmh.training.data.split import SPLIT_FILE, Split, make_split, split_of
from bids_mmh.training.engine import Compute, loader_workers, make_fabric
from bids_mmh.training.recipe import Recipe, Stage2Recipe
from bids_mmh.training.stage1.task import train_stage1
from bids_mmh.training.stage2.target_site import require_site
from bids_mmh.training.stage2.task import train_stage2
from bids_mmh.training.workspace import Workspace


@dataclass(frozen=True)
class StudyOptions:
    """What a study decides beside its recipe.

    Attributes:
        split: table that says where each subject belongs; None for that of ``stage1``, or to split by the
            recipe.
        test_subjects: subjects that are never read, beside those of the recipe.
        stage1: model folder to start Stage II from, instead of training Stage I.
        target_site: in place of the recipe's.
        encoder: in place of the recipe's.
        anatomies: folder of the generator's anatomies, for recipes that simulate.
    """

    split: Path | None = None
    test_subjects: tuple[str, ...] = ()
    stage1: Path | None = None
    target_site: str | None = None
    encoder: str | None = None
    anatomies: Path | None = None


def train(
    recipe: Recipe,
    derivatives: Sequence[Path],
    output: Path,
    *,
    compute: Compute | None = None,
    options: StudyOptions | None = None,
) -> Harmonizer:
    """Train a model on preprocessed derivatives and write its folder.

    Stage I comes first (unless ``options.stage1`` has it), then Stage II if the recipe has one. Run again,
    it goes on where it was. Under a launcher every process calls this; the first one writes.

    Args:
        recipe: what to train and how.
        derivatives: output folders of ``bids-mmh ... participant``.
        output: model folder; ``output/training`` keeps cache, split, losses and checkpoints.
        compute: devices, processes, precision.
        options: of the study.

    Returns:
        The trained model, on the CPU.

    Raises:
        UsageError: options and recipe do not fit together, or the machine cannot do what ``compute`` asks.
        NoInputError: no scans, or nobody left to train on.
        BadDataError: a scan, a split or a checkpoint cannot be used.
    """
    compute, options = compute or Compute(), options or StudyOptions()
    stage2 = _stage2_recipe(recipe, options)
    known = recipe.model if options.stage1 is None else read_config(options.stage1)
    if not derivatives and recipe.simulation is None:
        raise UsageError(
            "There is nothing to train on: name folders of derivatives, or a recipe that simulates."
        )
    scans = find_scans(derivatives, known.sequences) if derivatives else []
    nobody: frozenset[str] = frozenset()
    split = Split(nobody, nobody, nobody)
    if scans or recipe.simulation is None:
        split = make_split(scans, recipe, _split_table(options), options.test_subjects)
    if stage2 is not None:
        # before Stage I has trained for hours
        require_site({scan.site for scan in split.scans(scans, "train")}, stage2.target_site)
    ready = None if options.stage1 is None else stage1_of(options.stage1)
    recipe = replace(recipe, stage2=stage2)
    return train_on(recipe, scans, split, output, compute=compute, stage1=ready, anatomies=options.anatomies)


def train_on(
    recipe: Recipe,
    scans: Sequence[DerivedScan],
    split: Split,
    output: Path,
    *,
    compute: Compute,
    start: Harmonizer | None = None,
    stage1: Harmonizer | None = None,
    anatomies: Path | None = None,
) -> Harmonizer:
    """Train on scans that are split already; see :func:`train`.

    Args:
        recipe: what to train and how.
        scans: all scans there are.
        split: whose are trained and validated on; images of all others are never opened.
        output: model folder.
        compute: devices, processes, precision.
        start: a Stage I model of the recipe's configuration, whose network Stage I begins with; None to begin
            with random weights.
        stage1: a Stage I model to be fine-tuned as it is, without training Stage I.
        anatomies: of the generator, for recipes that simulate.

    Returns:
        The trained model, on the CPU.
    """
    fabric = make_fabric(compute)
    workspace = Workspace(
        fabric, output / TRAINING_FOLDER, list(scans), split, loader_workers(fabric, compute), anatomies
    )
    if fabric.is_global_zero:
        split.write(workspace.folder / SPLIT_FILE)
    model = train_stage1(recipe, workspace, start) if stage1 is None else stage1
    if recipe.stage2 is not None:
        if fabric.is_global_zero:
            model.save_pretrained(output / STAGE1_FOLDER)
        model = train_stage2(model, recipe.stage2, workspace, recipe.seed)
    if fabric.is_global_zero:
        model.save_pretrained(output)
    fabric.barrier()
    return model


def stage1_of(folder: Path) -> Harmonizer:
    """Load the Stage I model of a model folder: the model itself, or what Stage II was fine-tuned from.

    Raises:
        NoInputError: the folder is not a model folder.
        BadDataError: its files are damaged.
    """
    model = Harmonizer.from_pretrained(folder)
    if model.config.target is None:
        return model
    stage1 = Harmonizer(replace(model.config, target=None))
    stage1.network.load_state_dict(model.network.state_dict())
    stage1.records.load_state_dict(model.records.state_dict())
    return stage1.to(memory_format=torch.channels_last_3d).eval()


def _stage2_recipe(recipe: Recipe, options: StudyOptions) -> Stage2Recipe | None:
    """Stage II as the recipe has it, with what the options say in its place."""
    if recipe.stage2 is None:
        if options.stage1 or options.target_site or options.encoder:
            raise UsageError(
                "--stage1, --target-site and --encoder are for Stage II: add a [stage2] table to the recipe."
            )
        return None
    return replace(
        recipe.stage2,
        target_site=options.target_site or recipe.stage2.target_site,
        encoder=options.encoder or recipe.stage2.encoder,
    )


def _split_table(options: StudyOptions) -> Path | None:
    """Stage II keeps the split of the Stage I it starts from: whom that held out, this must not train on."""
    if options.split is None and options.stage1 is not None:
        return split_of(options.stage1)
    return options.split
