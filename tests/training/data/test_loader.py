import time

import pytest
import torch

from bids_mmh.training.data import loader


class Slow:
    """Items that name their position; early ones take longest, so that workers finish out of order."""

    def __getitem__(self, position):
        step, part = position
        time.sleep(0.02 * max(0, 4 - step))
        return torch.tensor([step, part])


@pytest.fixture
def forked(monkeypatch):
    """Fork the workers: processes that import PyTorch anew start in test_run.py."""
    made = loader.DataLoader

    def make(*arguments, num_workers, **options):
        options["multiprocessing_context"] = "fork" if num_workers else None
        return made(*arguments, num_workers=num_workers, **options)

    monkeypatch.setattr(loader, "DataLoader", make)


@pytest.mark.timeout(60)
def test_the_order_does_not_depend_on_the_workers(forked):
    positions = [(step, part) for step in range(3, 9) for part in (0, 2)]
    for workers in (0, 2):
        drawn = [tuple(item.tolist()) for item in loader.load(Slow(), positions, workers=workers, pin=False)]
        assert drawn == positions
