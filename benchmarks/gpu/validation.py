"""Last stage: simulated pairs of anatomies that training never saw, as the tool would harmonize them."""

import time
from itertools import permutations

import torch
from torch import Tensor

from benchmarks.gpu.plan import Stage, read_anatomies, read_recipe, run_stage
from benchmarks.gpu.training import checkpoints, load
from bids_mmh.errors import NoInputError
from bids_mmh.method.config import ModelConfig
from bids_mmh.method.harmonizer import Harmonizer, Styled
from bids_mmh.method.precision import fast_autocast
from bids_mmh.synthesis.study import SimulatedStudy, simulate_study
from bids_mmh.training.seeds import draw_seed

NAME = "validation"
SEED = 90_000  # far from those of training
METHODS = ("raw", "landmark map", "landmark map without noise", "network")
COLUMNS = (
    *("checkpoint", "sequence", "pairs"),
    *(f"PSNR of {method} (dB)" for method in METHODS),
    "network − landmark map without noise (dB)",
)
NOTE = (
    "Same generator as in training, other anatomies and scanners: a check of the run. "
    "What is shipped is chosen by scans of another physics (README)."
)


def trained_model(content: dict[str, object]) -> Harmonizer:
    """The averaged model of a checkpoint (:func:`benchmarks.gpu.training.load`)."""
    model = Harmonizer(ModelConfig.from_dict(content["config"]))
    model.network.load_state_dict(content["average"])
    model.records.load_state_dict(content["records"])
    return model.to(memory_format=torch.channels_last_3d).eval()


def study_psnr(model: Harmonizer, study: SimulatedStudy) -> list[list[float]]:
    """PSNR of every method for every pair of a study.

    The style to be in is that of the other subject at the target scanner; the answer is the scan's own brain
    there, without noise.
    """
    rows = []
    m = model.sequence_index(study.sequence)
    for subject, mask in enumerate(study.masks):
        other = (subject + 1) % len(study.masks)
        sequence = torch.tensor([m], device=mask.device)
        for a, b in permutations(range(len(study.scans[subject])), 2):
            scan, answer = study.scans[subject][a].image, study.scans[subject][b].clean
            example = study.scans[other][b].image
            target = model.style(example, model.anchor(example, study.masks[other], sequence))
            anchor = model.anchor(scan, mask, sequence)
            mapped = model.landmark_map(Styled(scan, model.style(scan, anchor)), anchor, target)
            whole = (slice(None),) * 5
            quiet = model.start(scan, anchor, target, whole).value  # what the network is compared with
            network = model.harmonize(model.network, scan, anchor, target)
            rows.append([psnr(image, answer, mask) for image in (scan, mapped.value, quiet, network)])
    return rows


def psnr(image: Tensor, answer: Tensor, mask: Tensor) -> float:
    """Inside the brain, for intensities clipped to [−1, 1]."""
    error = (image.clamp(-1, 1) - answer.clamp(-1, 1))[mask].square().mean()
    return float(10 * torch.log10(4 / error.clamp(min=1e-9)))


def run(stage: Stage) -> None:
    """Measure the checkpoints, newest first, and name the best."""
    begun = time.monotonic()
    stage.report.start(NAME, COLUMNS)
    stage.report.note(NAME, NOTE)
    files = checkpoints(stage.report.folder)
    if not files:
        raise NoInputError("No checkpoint to validate: training wrote none.")
    recipe = read_recipe(stage.plan.shape)
    anatomies = read_anatomies(stage, recipe.held_out, training=False)
    sequences = recipe.model.sequences
    studies = [
        simulate_study(
            anatomies, sequences[n % len(sequences)], draw_seed(SEED, n), scanners=3, device=stage.device
        )
        for n in range(stage.plan.studies)
    ]
    gains: dict[str, float] = {}
    longest = 0.0
    for file in reversed(files):
        start = time.monotonic()
        if gains and start - begun + longest > stage.seconds:
            break
        gains[file.name] = validate(trained_model(load(file)).to(stage.device), studies, stage, file.name)
        best = max(gains, key=lambda name: gains[name])
        stage.report.finish(NAME, f"{len(gains)} of {len(files)} checkpoints, best is {best}", best=best)
        longest = max(longest, time.monotonic() - start)


@torch.inference_mode()
def validate(model: Harmonizer, studies: list[SimulatedStudy], stage: Stage, name: str) -> float:
    """Write the rows of a checkpoint; the mean gain over the landmark map without noise."""
    rows: dict[str, list[list[float]]] = {}
    with fast_autocast(stage.device):
        for study in studies:
            rows.setdefault(study.sequence, []).extend(study_psnr(model, study))
    gains = []
    for sequence, figures in rows.items():
        means = [sum(column) / len(column) for column in zip(*figures, strict=True)]
        gains.append(means[-1] - means[-2])
        stage.report.row(NAME, name, sequence, len(figures), *means, gains[-1])
    return sum(gains) / len(gains)


if __name__ == "__main__":
    run_stage(run)
