"""Second stage: time and peak memory of one call and one training step, beside MONAI's stock network."""

import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.gpu.plan import Stage, run_stage
from bids_mmh.method.config import PRESETS
from bids_mmh.method.diffusion.unet import ConditionalUNet
from bids_mmh.method.precision import has_native_bf16
from bids_mmh.method.style.code import code_length

NAME = "speed"
COLUMNS = (
    *("network", "precision", "activation checkpointing"),
    *("s a call", "peak GiB", "s a training step", "peak GiB"),
)
Figures = tuple[float, float | None, float, float | None]
NOTES = (
    "Peak memory is what PyTorch allocated; a training step is forward, backward and Adam.",
    "The stock network knows no style and no sequence: it is called on volume and gradient map.",
)
Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Contender:
    """A network, and how it is called on a volume."""

    network: nn.Module
    call: Call


def ours(preset: str, size: tuple[int, int, int], device: torch.device, *, checkpointing: bool) -> Contender:
    """The network of a preset."""
    config = PRESETS[preset]
    network = ConditionalUNet(config.network, len(config.sequences)).to(device)
    network = network.to(memory_format=torch.channels_last_3d)
    network.checkpointing = checkpointing
    volume = _volume(size, device)
    t, sequence = torch.tensor([50], device=device), torch.tensor([0], device=device)
    code = torch.rand(1, code_length(config.network.style_code), device=device)
    return Contender(network, lambda: network(volume, t, volume, sequence, code))


def stock(
    size: tuple[int, int, int], device: torch.device, *, attention: tuple[bool, ...] | None = None
) -> Contender:
    """MONAI's network as it comes, in its own memory layout, with the channels of ``paper``.

    Args:
        size: of the volume.
        device: to compute on.
        attention: levels with attention, finest first; those of ``paper`` by default.

    Raises:
        ImportError: there is no MONAI.
    """
    from monai.networks.nets import DiffusionModelUNet  # not every machine has it

    like = PRESETS["paper"].network
    network = DiffusionModelUNet(
        spatial_dims=3,
        in_channels=2,
        out_channels=1,
        channels=like.channels,
        attention_levels=attention or like.attention,
        num_res_blocks=like.res_blocks,
        norm_num_groups=like.groups,
        num_head_channels=like.head_channels,
    ).to(device)
    volume = torch.cat([_volume(size, device)] * 2, dim=1).contiguous()
    t = torch.tensor([50], device=device)
    return Contender(network, lambda: network(volume, t))


def _volume(size: tuple[int, int, int], device: torch.device) -> Tensor:
    return torch.rand(1, 1, *size, device=device) * 1.6 - 0.8


def measure(make: Callable[[], Contender], stage: Stage, *, half: bool) -> Figures:
    """Seconds and peak GiB of a call without gradients, and of a training step with Adam."""
    contender = make()
    optimizer = torch.optim.Adam(contender.network.parameters())

    def call() -> None:
        with torch.no_grad(), torch.autocast(stage.device.type, torch.bfloat16, enabled=half):
            contender.call()

    def step() -> None:
        with torch.autocast(stage.device.type, torch.bfloat16, enabled=half):
            answer = contender.call()
        answer.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return *_timed(call, stage), *_timed(step, stage)


def _timed(work: Callable[[], None], stage: Stage) -> tuple[float, float | None]:
    """The fastest of some turns after one to warm up, and the peak memory of a GPU."""
    gpu = stage.device.type == "cuda"
    seconds = []
    for turn in range(stage.plan.repeats + 1):
        if gpu and turn == 1:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        work()
        if gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:]), torch.cuda.max_memory_allocated() / 2**30 if gpu else None


def add_wheel(wheel: Path) -> None:
    """Make a wheel's packages importable, by unpacking it beside nothing else."""
    folder = tempfile.mkdtemp()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    sys.path.append(folder)


def run(stage: Stage) -> None:
    """Write a row for every network, until the time is over."""
    begun = time.monotonic()
    stage.report.start(NAME, COLUMNS)
    sides = "×".join(map(str, stage.plan.speed_size))
    stage.report.note(NAME, f"One volume of {sides}, fastest of {stage.plan.repeats}.")
    for note in NOTES:
        stage.report.note(NAME, note)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    if stage.wheel:
        add_wheel(stage.wheel)
    size, device = stage.plan.speed_size, stage.device
    for half, preset, checkpointing in product((True, False), ("lite", "paper"), (False, True)):
        make = partial(ours, preset, size, device, checkpointing=checkpointing)
        _row(stage, begun, make, preset, half=half, checkpointing=checkpointing)
        if preset == "paper" and checkpointing:
            _row(stage, begun, partial(stock, size, device), "MONAI stock", half=half, checkpointing=False)
    stage.report.finish(NAME)


def _row(
    stage: Stage, begun: float, make: Callable[[], Contender], name: str, *, half: bool, checkpointing: bool
) -> None:
    """Measure one network, or say why not."""
    labels = (name, "bf16" if half else "fp32 (TF32 allowed)", checkpointing)
    if time.monotonic() - begun > stage.seconds:
        stage.report.row(NAME, *labels, "not measured: the time is over", None, None, None)
        return
    if half and not has_native_bf16(stage.device):
        stage.report.row(NAME, *labels, "not measured: not in hardware", None, None, None)
        return
    try:
        figures: tuple[float | str | None, ...] = measure(make, stage, half=half)
    except torch.cuda.OutOfMemoryError:
        figures = ("out of memory", None, None, None)
    except ImportError as error:
        figures = (f"not compared: {error}", None, None, None)
    except Exception as error:  # whatever it is, the next network may run
        figures = (f"{type(error).__name__}: {error}"[:200], None, None, None)
    if stage.device.type == "cuda":
        torch.cuda.empty_cache()
    stage.report.row(NAME, *labels, *figures)


if __name__ == "__main__":
    run_stage(run)
