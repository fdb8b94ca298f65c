"""The loop on a task small enough to follow by hand."""

import csv
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from bids_mmh.errors import BadDataError, UsageError
from bids_mmh.training.engine import Compute, make_fabric
from bids_mmh.training.loop.task import PhaseData
from bids_mmh.training.loop.training_loop import Loop, LoopSettings
from bids_mmh.training.recipe import Phase

SEED = 3


class Numbers:
    """Items by position; remembers what was asked for."""

    def __init__(self):
        self.asked = []

    def __getitem__(self, position):
        self.asked.append(position)
        return torch.tensor([float(sum(position))])


@dataclass
class Line:
    """Fits w to 0 by squared error; each validation item adds its own offset to w."""

    validation: tuple = ()
    start: float = 1.0

    def __post_init__(self):
        self.terms = ("noise",)
        line = nn.Linear(1, 1, bias=False)
        nn.init.constant_(line.weight, self.start)
        self.modules = {"line": line}
        self.items = Numbers()
        self.observed, self.weights, self.seeds = [], [], []

    def data(self, phase):
        return PhaseData(self.items, list(self.validation))

    def losses(self, modules, item, seed):
        self.seeds.append(seed)
        prediction = modules["line"](torch.ones(1, 1))
        if not torch.is_grad_enabled():
            self.weights.append(float(prediction))
            prediction = prediction + item
        total = prediction.square().sum()
        return {"total": total, "noise": total}, [float(item)]

    def after_step(self, observed):
        self.observed.append(observed)

    def state_dict(self):
        return {"steps": torch.tensor(len(self.observed))}

    def load_state_dict(self, state):
        self.loaded = int(state["steps"])

    @property
    def weight(self):
        return self.modules["line"].weight.item()


def make(task, folder, *, steps=4, average=0.5, every=2, patience=0, rate=0.1, accumulate=2, phases=1):
    phase = Phase(1.0, steps, learning_rate=rate, accumulate=accumulate)
    settings = LoopSettings((phase,) * phases, SEED, average, every, patience)
    return Loop(make_fabric(Compute("cpu", precision="32-true")), task, settings, folder, fingerprint="this")


def rows(folder, split):
    with (folder / "losses.tsv").open(newline="") as stream:
        return [row for row in csv.DictReader(stream, delimiter="\t") if row["split"] == split]


def test_each_part_of_each_step_once_and_in_order(tmp_path):
    task = Line()
    make(task, tmp_path, steps=3).run()
    assert task.items.asked == [(step, part) for step in range(3) for part in range(2)]
    assert task.observed == [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    assert len(set(task.seeds)) == 6


def test_gradients_are_a_mean_over_parts_clipped_to_norm_one(tmp_path):
    """The gradient of w² at w = 0.25 is 0.5, whatever the number of parts; at w = 4 it is 8, clipped to 1."""
    for accumulate, start, norm in ((1, 0.25, 0.5), (5, 0.25, 0.5), (2, 4.0, 1.0)):
        task = Line(start=start)
        loop = make(task, tmp_path / f"{accumulate}-{start}", steps=1, accumulate=accumulate)
        loop.run()
        moment = loop.optimizer.state_dict()["state"][0]["exp_avg"]  # (1 − β₁) times the gradient
        assert float(moment) == pytest.approx(0.1 * norm, rel=1e-4)


def test_validation_measures_the_average(tmp_path):
    task = Line(validation=(torch.zeros(1), torch.ones(1)))
    loop = make(task, tmp_path, steps=2, average=0.9)
    loop.run()
    average = float(loop.averages["line"].weight)
    assert task.weights == [pytest.approx(average)] * 2
    assert average > task.weight + 0.05
    (row,) = rows(tmp_path, "validation")
    assert float(row["total"]) == pytest.approx((average**2 + (average + 1) ** 2) / 2, abs=1e-5)


def test_the_average_follows_the_decay(tmp_path):
    task = Line()
    loop = make(task, tmp_path, steps=1, average=0.75)
    loop.run()
    assert float(loop.averages["line"].weight) == pytest.approx(0.75 * 1.0 + 0.25 * task.weight)


def test_validation_always_draws_the_same(tmp_path):
    task = Line(validation=(torch.zeros(1),))
    make(task, tmp_path, phases=2).run()
    validated = [task.seeds[i] for i in range(len(task.seeds)) if task.seeds.count(task.seeds[i]) > 1]
    assert len(validated) == 4
    assert len(set(validated)) == 1


def overshooting(folder, patience, **options):
    """w goes down through 0, where validation is best, and on to below it."""
    task = Line(validation=(torch.tensor([0.6]),))  # best at w = -0.6
    loop = make(task, folder, steps=40, average=0.0, every=1, patience=patience, rate=0.3, **options)
    # push w down at the same pace for ever
    task.losses_, task.losses = task.losses, lambda m, i, s: pushed(task, m, i, s)
    return task, loop


def pushed(task, modules, item, seed):
    losses, observed = task.losses_(modules, item, seed)
    if torch.is_grad_enabled():
        total = modules["line"](torch.ones(1, 1)).sum()
        losses = {"total": total, "noise": total}
    return losses, observed


def test_patience_ends_the_phase_and_keeps_the_best_average(tmp_path):
    task, loop = overshooting(tmp_path, patience=3)
    loop.run()
    totals = [float(row["total"]) for row in rows(tmp_path, "validation")]
    best = totals.index(min(totals))
    assert len(totals) == best + 1 + 3 < 40
    assert float(loop.averages["line"].weight) == pytest.approx(task.weights[best])
    assert task.weight < task.weights[best] - 0.2  # the raw weights went on
    assert task.loaded == best + 1  # the task's state is that of the best average, too


def test_without_patience_the_last_average_is_kept(tmp_path):
    task, loop = overshooting(tmp_path, patience=0)
    loop.run()
    assert len(rows(tmp_path, "validation")) == 40
    assert float(loop.averages["line"].weight) == pytest.approx(task.weight)


def test_a_stopped_phase_is_left_and_the_next_begins_with_new_patience(tmp_path):
    _, loop = overshooting(tmp_path, patience=2, phases=2)
    loop.run()
    by_phase = [[row for row in rows(tmp_path, "validation") if row["phase"] == p] for p in "01"]
    assert len(by_phase[0]) < 40
    assert len(by_phase[1]) == 3  # worse from the start: one best and two worse


def test_a_run_that_stopped_early_is_finished(tmp_path):
    _, loop = overshooting(tmp_path, patience=3)
    loop.run()
    _, again = overshooting(tmp_path, patience=3)
    again.run()
    assert torch.equal(loop.averages["line"].weight, again.averages["line"].weight)
    assert len(rows(tmp_path, "train")) < 40


def test_patience_survives_an_interruption(tmp_path, monkeypatch):
    _, whole = overshooting(tmp_path / "whole", patience=3)
    whole.run()
    original, done = Loop._optimizer_step, []

    def step(self, *arguments):
        done.append(None)
        if len(done) == len(rows(tmp_path / "whole", "train")):  # in the last step before it would stop
            raise KeyboardInterrupt
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_optimizer_step", step)
        with pytest.raises(KeyboardInterrupt):
            overshooting(tmp_path / "broken", patience=3)[1].run()
    _, resumed = overshooting(tmp_path / "broken", patience=3)
    resumed.run()
    assert torch.equal(resumed.averages["line"].weight, whole.averages["line"].weight)
    assert rows(tmp_path / "broken", "validation") == rows(tmp_path / "whole", "validation")


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    with pytest.raises(BadDataError, match=r"loss is nan in phase 0 at step 0: lower the learning rate"):
        make(Line(start=float("nan")), tmp_path).run()
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_gradient_that_is_no_number_leaves_the_weights_alone(tmp_path):
    """At w = 0 the loss √(w²) is 0, and its gradient 0/0."""
    task = Line(start=0.0)
    task.losses_, task.losses = task.losses, lambda m, i, s: rooted(task, m, i, s)
    with pytest.raises(BadDataError, match="norm of the gradient is nan"):
        make(task, tmp_path).run()
    assert task.weight == 0


def rooted(task, modules, item, seed):
    losses, observed = task.losses_(modules, item, seed)
    return {name: loss.sqrt() for name, loss in losses.items()}, observed


def test_more_processes_than_volumes(tmp_path, monkeypatch):
    from lightning_fabric import Fabric

    monkeypatch.setattr(Fabric, "world_size", 3)
    with pytest.raises(UsageError, match="3 processes cannot share steps of 2 volumes"):
        make(Line(), tmp_path)
