"""The phantom study of docs/phantom_study.md, from nothing to its table: data, models, ablations, controls.

``python benchmarks/method/phantom_study.py FOLDER [--spacing MM] [--nprocs N] [--device DEVICE] [--only NAME
...]``. What is there already is not made again, so it can be interrupted. On a coarser grid than the recipe's
only the phases up to that grid are trained: a cheap way to all ablations. Twenty subjects at four sites, T1w
and T2w: four of them travel to every site and are the test; the others are trained on or validate.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harmonize_variant import harmonize_scans
from table import main as method_table

from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.training.data.scans import find_scans
from bids_mmh.training.engine import Compute
from bids_mmh.training.recipe import Recipe, load_recipe, model_on_grid
from bids_mmh.training.run import StudyOptions, train

RECIPE = Path(__file__).parents[2] / "recipes" / "phantom_study.toml"
PHANTOM = ("--subjects", "20", "--sites", "4", "--travelling", "4", "--seed", "11", "--no-truth")
TEST = ("001", "002", "003", "004")


@dataclass(frozen=True)
class Variant:
    """MMH or an ablation of it.

    Attributes:
        name: row of the table.
        folder: of its model, below ``models``.
        stage1: folder of the Stage I model that it shares with another variant; None to train its own.
        stage: stage whose output counts; None for the last.
    """

    name: str
    folder: str
    stage1: str | None = None
    stage: int | None = None

    def recipe(self, base: Recipe) -> Recipe:
        """The recipe with this variant's switches."""
        assert base.stage2 is not None
        if self.folder == "without_ema":
            model = replace(base.model, name="phantom-study-without-ema", ema_guidance=False)
            return replace(base, model=model)
        if self.folder == "without_gradient":
            model = replace(base.model, name="phantom-study-without-gradient", gradient_condition=False)
            return replace(base, model=model)
        if self.folder == "without_domain_encoder":
            return replace(base, stage2=replace(base.stage2, encoder="random"))
        if self.folder == "without_attention":
            return replace(base, stage2=replace(base.stage2, aggregation="axial_mean"))
        return base


FULL = "full"
VARIANTS = (
    Variant("MMH", FULL),
    Variant("MMH w/o E", "without_ema"),
    Variant("MMH w/o G", "without_gradient"),
    Variant("MMH w/o T", FULL, stage=1),
    Variant("MMH w/o B", "without_domain_encoder", stage1=FULL),
    Variant("MMH w/o A", "without_attention", stage1=FULL),
)


def recipe_on_grid(spacing: float) -> Recipe:
    """The recipe as far as a grid: without the phases on finer ones."""
    recipe = load_recipe(RECIPE)
    phases = tuple(phase for phase in recipe.phases if phase.spacing >= spacing)
    return replace(recipe, model=model_on_grid(recipe.model, spacing), phases=phases)


def make_data(folder: Path, nprocs: int) -> Path:
    """Make the phantom and preprocess it; returns the derivatives."""
    raw, derivatives, done = folder / "raw", folder / "out", folder / ".preprocessed"
    program = [sys.executable, "-m", "bids_mmh"]
    if not raw.exists():
        command = [sys.executable, "-m", "bids_mmh.cli.phantom", str(raw), *PHANTOM, "--nprocs", str(nprocs)]
        subprocess.run(command, check=True)
    if not done.exists():
        options = ["--preproc-only", "--output-spaces", "MNI", "--work-dir", str(folder / "work")]
        options += ["--nprocs", str(nprocs), "--omp-nthreads", "1"]
        subprocess.run([*program, str(raw), str(derivatives), "participant", *options], check=True)
        done.touch()
    return derivatives


def make_model(
    variant: Variant, base: Recipe, folder: Path, derivatives: Path, compute: Compute
) -> Harmonizer:
    """Train a variant, or go on with it, or read it where it is done."""
    output = folder / "models" / variant.folder
    if (output / "config.json").exists():
        return Harmonizer.from_pretrained(output)
    stage1 = None if variant.stage1 is None else folder / "models" / variant.stage1 / "stage1"
    split = None if variant.stage1 is None else folder / "models" / variant.stage1 / "training" / "split.tsv"
    options = StudyOptions(stage1=stage1, split=split)
    return train(variant.recipe(base), [derivatives], output, compute=compute, options=options)


def make_outputs(variant: Variant, model: Harmonizer, folder: Path, derivatives: Path) -> Path:
    """Harmonize the test subjects with a variant; returns the folder of the volumes."""
    output = folder / "harmonized" / variant.name.replace(" ", "_").replace("/", "")
    if not (output / ".done").exists():
        scans = find_scans([derivatives], model.config.sequences)
        test = [scan for scan in scans if scan.subject.removeprefix("sub-") in TEST]
        harmonize_scans(model, test, output, cache=folder / "harmonized" / "volumes", stage=variant.stage)
        (output / ".done").touch()
    return output


def main(argv: Sequence[str] | None = None) -> int:
    """Make whatever is missing, then the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--spacing", type=float, default=2.0, help="voxel size of the grid in mm (default: 2)"
    )
    parser.add_argument("--nprocs", type=int, default=2, help="processes of the preprocessing")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--only", nargs="+", metavar="FOLDER", help="these variants only: full, without_ema, ..."
    )
    options = parser.parse_args(argv)
    derivatives = make_data(options.folder, options.nprocs)
    base = recipe_on_grid(options.spacing)
    results = options.folder / f"{options.spacing:g}mm"
    arguments = []
    target = None
    for variant in VARIANTS:
        if options.only and variant.folder not in options.only:
            continue
        model = make_model(variant, base, results, derivatives, Compute(options.device))
        output = make_outputs(variant, model, results, derivatives)
        arguments += ["--variant", f"{variant.name}={output}"]
        target = target or (model.config.target.site if model.config.target else None)
    assert target is not None
    figures = results / "figures" / "phantom_study"
    common = [
        "--spacing",
        f"{options.spacing:g}",
        "--target",
        target,
        "--test-subjects",
        *TEST,
        "--out",
        str(figures),
    ]
    return method_table([str(derivatives), *common, *arguments])


if __name__ == "__main__":
    sys.exit(main())
