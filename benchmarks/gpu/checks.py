"""First stage: what the device is, and whether it computes what the CPU computes."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from benchmarks.gpu.plan import RecipeValues, Stage, new_model, read_anatomies, read_recipe, run_stage
from benchmarks.gpu.training import losses
from bids_mmh.method.diffusion.gradient import gradient_map
from bids_mmh.method.harmonizer import Harmonizer, Styled
from bids_mmh.method.precision import fast_autocast, precision_name
from bids_mmh.method.style.statistics import soft_histogram
from bids_mmh.method.style.tissues import default_priors, priors_on_grid, segment
from bids_mmh.synthesis.anatomies import Anatomy
from bids_mmh.synthesis.study import SimulatedStudy, simulate_study
from bids_mmh.training.data.simulated_pairs import SimulatedPair, SimulatedPairs
from bids_mmh.training.stage1.objective import Draw

NAME = "checks"
CPU = torch.device("cpu")
SEED = 11


@dataclass
class Bench:
    """What the checks share: made when the first of them asks."""

    stage: Stage
    recipe: RecipeValues

    @property
    def device(self) -> torch.device:
        """Under test."""
        return self.stage.device

    @cached_property
    def anatomies(self) -> list[list[Anatomy]]:
        """Two anatomies, on the device."""
        return [read_anatomies(self.stage, self.recipe.held_out, training=False)[0][:2]]

    @cached_property
    def study(self) -> SimulatedStudy:
        """Simulated on the device."""
        return self.simulate(SEED)

    def simulate(self, seed: int) -> SimulatedStudy:
        """A study of a seed."""
        return simulate_study(self.anatomies, "T1w", seed, scanners=2, device=self.device)

    def scan(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """One scan and its mask."""
        return self.study.scans[0][0].image.to(device), self.study.masks[0].to(device)

    def model(self, device: torch.device) -> Harmonizer:
        """A model that answers something."""
        return new_model(self.recipe.model, SEED, device, answers=0.02)

    @cached_property
    def pair(self) -> SimulatedPair:
        """A small crop, on the device."""
        crop = min(32, self.stage.plan.crop)
        pairs = SimulatedPairs(
            self.anatomies, ("T1w", "T2w"), SEED, accumulate=1, crop=crop, device=self.device
        )
        return pairs[0, 0]


def gradient(bench: Bench) -> float:
    """Gradient map of a scan."""
    return _apart([gradient_map(bench.scan(device)[0]) for device in (CPU, bench.device)])


def histogram(bench: Bench) -> float:
    """Histogram of a brain."""
    scans = [bench.scan(device) for device in (CPU, bench.device)]
    return _apart([soft_histogram(image[mask]) for image, mask in scans])


def tissues(bench: Bench) -> float:
    """Tissue maps, mean absolute difference."""
    found = []
    for device in (CPU, bench.device):
        image, mask = bench.scan(device)
        priors = priors_on_grid(default_priors()[None].to(device), image.shape[2:])
        found.append(segment(image, mask, priors).maps.cpu())
    return float((found[0] - found[1]).abs().mean())


def landmarks(bench: Bench) -> float:
    """Landmark map of a scan to the style of the next scanner, mean absolute difference."""
    found = []
    for device in (CPU, bench.device):
        model = bench.model(device)
        image, mask = bench.scan(device)
        anchor = model.anchor(image, mask, torch.tensor([0], device=device))
        target = model.style(bench.study.scans[0][1].image.to(device), anchor)
        mapped = model.landmark_map(Styled(image, model.style(image, anchor)), anchor, target)
        found.append(mapped.value.cpu())
    return float((found[0] - found[1]).abs().mean())


def same_seed(bench: Bench) -> float:
    """Two studies of one seed."""
    return _apart([study.scans[1][1].image for study in (bench.study, bench.simulate(SEED))])


def other_seed(bench: Bench) -> float:
    """How like two studies of different seeds are: 1 less their distance, which must not be about 1."""
    two = (bench.study, bench.simulate(SEED + 1))
    return 1 - min(1.0, _apart([study.scans[1][1].image for study in two]))


def precision(bench: Bench) -> float:
    """One call of the network in bfloat16 beside float32, difference relative to the answer."""
    model, pair = bench.model(bench.device), bench.pair
    code = model.style_code(pair.own, pair.style)
    t = torch.tensor([1], device=bench.device)
    found = []
    for half in (False, True):
        with torch.no_grad(), torch.autocast(bench.device.type, torch.bfloat16, enabled=half):
            answer = model.network(pair.image, t, pair.gradient, pair.sequence, code, split=True)
            found.append(answer[1].float())
    return float((found[1] - found[0]).square().mean().sqrt() / found[0].square().mean().sqrt())


def training_step(bench: Bench) -> float:
    """Gradient of a training step in float32, relative to its norm."""
    gradients = []
    noise = torch.randn(bench.pair.image.shape, generator=torch.Generator().manual_seed(SEED))
    chosen = Draw(torch.tensor([2]), noise, torch.tensor([False]))
    for device in (CPU, bench.device):
        model = bench.model(device)
        losses(model, model.network, bench.pair.to(device), chosen.to(device), bench.recipe).total.backward()
        found = [p.grad.flatten().cpu() for p in model.network.parameters() if p.grad is not None]
        gradients.append(torch.cat(found))
    return float((gradients[0] - gradients[1]).norm() / gradients[0].norm())


CHECKS: tuple[tuple[str, Callable[[Bench], float], float], ...] = (
    ("generator follows its seed", same_seed, 1e-4),
    ("generator: another seed, another study (1 - distance)", other_seed, 0.95),
    ("gradient map, CPU and device", gradient, 1e-4),
    ("histogram, CPU and device", histogram, 1e-5),
    ("tissue maps, CPU and device (mean)", tissues, 1e-3),
    ("landmark map, CPU and device (mean)", landmarks, 2e-3),
    ("network, bfloat16 and float32 (relative)", precision, 0.05),
    ("gradient of a training step, CPU and device (relative)", training_step, 1e-2),
)


def _apart(two: list[Tensor]) -> float:
    return float((two[0].cpu() - two[1].cpu()).abs().max())


def run(stage: Stage) -> None:
    """Write a row for every check, whatever became of those before."""
    begun = time.monotonic()
    stage.report.start(NAME, ["check", "difference", "allowed", "passed", "seconds"])
    for fact in device_facts(stage.device):
        stage.report.note(NAME, fact)
    # full float32, or convolutions of a GPU differ in the third digit
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    bench = Bench(stage, read_recipe(stage.plan.shape))
    passed = 0
    for name, check, allowed in CHECKS:
        start = time.monotonic()
        if start - begun > stage.seconds:
            stage.report.row(NAME, name, "not done: the time is over", allowed, False, None)
            continue
        try:
            found: float | str = check(bench)
        except Exception as error:  # whatever it is, the next check may pass
            found = f"{type(error).__name__}: {error}"[:300]
        good = isinstance(found, float) and found <= allowed
        passed += good
        stage.report.row(NAME, name, found, allowed, good, round(time.monotonic() - start, 2))
    stage.report.finish(NAME, f"{passed} of {len(CHECKS)} passed")


def device_facts(device: torch.device) -> list[str]:
    """What computes, in sentences."""
    facts = [
        f"Python {platform.python_version()}, PyTorch {torch.__version__}, {platform.machine()}",
        f"Precision that the tool chooses: {precision_name(device)}",
    ]
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        facts.append(
            f"{about.name}, {about.total_memory / 2**30:.1f} GiB, "
            f"compute capability {about.major}.{about.minor}, "
            f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        )
    else:
        facts.append("No GPU was used.")
    with fast_autocast(device):
        product = torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
    facts.append(f"Matrix products there are of type {product.dtype}.")
    return facts


if __name__ == "__main__":
    run_stage(run)
