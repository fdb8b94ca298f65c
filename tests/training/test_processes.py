import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bids_mmh.errors import BadDataError
from bids_mmh.training.engine import Compute, make_fabric
from bids_mmh.training.processes import gather_in_order, on_first, shares

SCRIPT = Path(__file__).with_name("two_processes.py")
TRAINED = runpy.run_path(str(SCRIPT))["trained"]


class Pretend:
    """One of two processes, on its own."""

    def __init__(self, rank):
        self.global_rank, self.world_size = rank, 2


def test_parts_are_dealt_out_in_turn():
    assert [list(shares(5, Pretend(rank))) for rank in (0, 1)] == [[0, 2, 4], [1, 3]]


def test_parts_of_all_processes_come_in_their_order(monkeypatch):
    def gathered(everyone, mine):
        everyone[:] = [mine, [(1, "b"), (3, "d")]]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gathered)
    assert gather_in_order(Pretend(0), [(0, "a"), (2, "c")]) == ["a", "b", "c", "d"]


def test_what_the_first_process_raises_reaches_the_caller():
    def fail():
        raise BadDataError("scan.nii.gz is broken.")

    with pytest.raises(BadDataError, match=r"scan\.nii\.gz is broken"):
        on_first(make_fabric(Compute("cpu")), fail)


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


@pytest.mark.parametrize(
    "launcher", [pytest.param((), id="fork"), pytest.param(TORCHRUN, id="torchrun", marks=pytest.mark.slow)]
)
@pytest.mark.timeout(600)
def test_two_processes_train_what_one_trains(derivatives, tmp_path, launcher, losses_of):
    """Three volumes a step: one process has two of them, the other one. Both end with the same model and the
    same records of both kinds, which are those of one process alone."""
    command = [sys.executable, *launcher, SCRIPT, "state", derivatives, tmp_path, "3"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(tmp_path / f"rank{i}.pt", weights_only=True) for i in (0, 1)]
    alone = TRAINED(3, derivatives, tmp_path / "alone")
    for kind, state in alone.items():
        for name, value in state.items():  # steps of 1e-3 moved each weight by about 2e-3
            assert torch.equal(ranks[1][kind][name], ranks[0][kind][name]), (kind, name)
            torch.testing.assert_close(ranks[0][kind][name], value, atol=2e-5, rtol=1e-4)
    assert (alone["records"]["mean"] - alone["averaged"]["mean"]).abs().max() > 1e-3  # they moved
    for one, other in zip(losses_of(tmp_path / "model"), losses_of(tmp_path / "alone"), strict=True):
        assert (one["step"], one["split"]) == (other["step"], other["split"])
        for term in ("total", "noise", "gradient", "ema"):
            assert float(one[term]) == pytest.approx(float(other[term]), abs=1e-4)
