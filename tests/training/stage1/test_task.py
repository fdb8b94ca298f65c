import copy
import logging
import shutil
from dataclasses import replace

import pytest
import torch

from bids_mmh.errors import NoInputError
from bids_mmh.method.harmonizer import Harmonizer, read_config
from bids_mmh.method.style.statistics import StyleStatistics, style_statistics
from bids_mmh.training.data.scans import find_scans
from bids_mmh.training.data.split import Split
from bids_mmh.training.engine import Compute, make_fabric
from bids_mmh.training.loop.learning_rate import learning_rate
from bids_mmh.training.recipe import Augmentation
from bids_mmh.training.run import train
from bids_mmh.training.stage1.objective import Observation, draw
from bids_mmh.training.stage1.task import Stage1Task
from bids_mmh.training.workspace import Workspace

CPU = Compute(device="cpu")


def checkpoint_of(folder):
    return torch.load(folder / "training" / "stage1" / "checkpoint.pt", weights_only=True)


def assert_same(records, others):
    """All of two states of records, bit by bit."""
    assert (
        set(records)
        == set(others)
        == {"histogram", "mean", "std", "seen", "median", "spread", "detail", "regional"}
    )
    for name, value in records.items():
        assert torch.equal(value, others[name]), name


@pytest.fixture(scope="module")
def trained(three_subjects, recipe, tmp_path_factory):
    """The model of a run, and its folder; not to be changed."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    return train(recipe, [three_subjects], folder, compute=CPU), folder


def test_a_run_leaves_a_model_and_its_history(trained, recipe, losses_of):
    model, folder = trained
    rows = losses_of(folder)
    assert [(row["step"], row["split"]) for row in rows] == [
        *(("0", "train"), ("1", "train"), ("2", "train"), ("2", "validation")),
        *(("3", "train"), ("4", "train"), ("5", "train"), ("5", "validation")),
    ]
    for row in rows:
        parts = sum(float(row[name]) for name in ("noise", "gradient", "ema"))
        assert float(row["total"]) == pytest.approx(parts, abs=3e-6)
    split = (folder / "training" / "split.tsv").read_text()
    assert (split.count("\ttrain"), split.count("\tvalidation")) == (2, 1)
    assert read_config(folder) == recipe.model
    loaded = Harmonizer.from_pretrained(folder)
    assert loaded.records.seen.all()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_training_moves_the_network_and_the_average_lags_behind(trained, recipe):
    torch.manual_seed(recipe.seed)
    fresh = Harmonizer(recipe.model).state_dict()
    model, folder = trained
    state = checkpoint_of(folder)
    name = "network.head.bias"
    raw = state["modules"]["network"][name.removeprefix("network.")]
    moved = (raw - fresh[name]).abs().max()
    lagging = (model.state_dict()[name] - fresh[name]).abs().max()
    assert 0 < lagging < moved
    rate = state["optimizer"]["param_groups"][0]["lr"]
    assert rate == pytest.approx(learning_rate(recipe.phases[0], 5))


def test_the_model_has_the_averaged_records(trained, recipe):
    model, folder = trained
    state = checkpoint_of(folder)["task"]
    assert_same(model.records.state_dict(), state["averaged"])
    assert (state["records"]["mean"] - state["averaged"]["mean"]).abs().max() > 1e-3
    assert model.records.decay == recipe.model.decay  # whatever they were averaged with


def test_a_resumed_run_repeats_an_unbroken_one(
    derivatives, recipe, tmp_path, monkeypatch, losses_of, interrupt_after
):
    """Killed in its fifth step, two phases long, it goes on from the checkpoint after the third."""
    recipe = replace(
        recipe, phases=(recipe.phases[0], replace(recipe.phases[0], steps=2, learning_rate=2e-3))
    )
    unbroken = train(recipe, [derivatives], tmp_path / "unbroken", compute=CPU)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, [derivatives], tmp_path / "broken", compute=CPU)
    assert len(losses_of(tmp_path / "broken")) == 5
    resumed = train(recipe, [derivatives], tmp_path / "broken", compute=CPU)
    assert losses_of(tmp_path / "broken") == losses_of(tmp_path / "unbroken")
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    ends = [checkpoint_of(tmp_path / name)["task"] for name in ("broken", "unbroken")]
    for kind in ("records", "averaged"):
        assert_same(ends[0][kind], ends[1][kind])


def test_a_finished_run_is_not_trained_further(
    trained, three_subjects, recipe, tmp_path, monkeypatch, losses_of, interrupt_after
):
    first, folder = trained
    shutil.copytree(folder, tmp_path / "model")
    interrupt_after(monkeypatch, 0)
    again = train(recipe, [three_subjects], tmp_path / "model", compute=CPU)
    assert losses_of(tmp_path / "model") == losses_of(folder)
    assert torch.equal(first.state_dict()["network.head.bias"], again.state_dict()["network.head.bias"])


def test_another_recipe_starts_anew(derivatives, recipe, tmp_path, caplog, losses_of):
    short = replace(recipe, phases=(replace(recipe.phases[0], steps=1),))
    train(short, [derivatives], tmp_path / "model", compute=CPU)
    with caplog.at_level(logging.WARNING, logger="bids_mmh.training"):
        train(replace(short, seed=6), [derivatives], tmp_path / "model", compute=CPU)
    assert "made by another recipe or on other scans: training starts anew" in caplog.text
    assert [row["split"] for row in losses_of(tmp_path / "model")] == ["train", "validation"]


def test_a_single_subject_has_no_validation(tmp_path, recipe, write_scan, losses_of):
    write_scan(tmp_path / "in", "01")
    short = replace(recipe, phases=(replace(recipe.phases[0], steps=1),))
    train(short, [tmp_path / "in"], tmp_path / "model", compute=CPU)
    assert [row["split"] for row in losses_of(tmp_path / "model")] == ["train"]


def test_nothing_to_train_on(recipe, tmp_path):
    with pytest.raises(NoInputError, match="No preprocessed T1w or T2w scans"):
        train(recipe, [tmp_path], tmp_path / "model", compute=CPU)
    assert not (tmp_path / "model").exists()


@pytest.fixture
def task(derivatives, recipe, tmp_path):
    """Stage I on two subjects, with one more for validation; records are averaged with 0.9."""
    recipe = replace(recipe, weight_average=0.9)
    scans = find_scans([derivatives], ["T1w", "T2w"])
    split = Split(frozenset({"sub-01", "sub-03"}), frozenset({"sub-02"}))
    workspace = Workspace(make_fabric(CPU), tmp_path / "training", scans, split)
    torch.manual_seed(0)
    return Stage1Task(Harmonizer(recipe.model), recipe, workspace)


def test_records_start_from_the_first_scan_of_each_sequence(task, recipe):
    data = task.data(0)
    for part, sequence in enumerate((0, 1)):
        first = data.train[0, part]
        assert first.sequence.tolist() == [sequence]
        own = style_statistics(first.image, first.mask, recipe.model.bins)
        for records in (task.model.records, task.averaged):
            assert records.mean[sequence] == own.mean
            assert records.std[sequence] == own.std
            assert torch.equal(records.histogram[sequence], own.histogram[0])
    before = task.model.records.mean.clone()
    task.model.records.mean[0], task.averaged.mean[0] = 0.25, 0.5
    task.data(0)  # as when a run is resumed
    assert task.model.records.mean.tolist() == [0.25, before[1]]
    assert task.averaged.mean.tolist() == [0.5, before[1]]


def test_observations_move_both_kinds_of_records_in_their_order(task):
    """One with γ of the model, the other with the decay that weights are averaged with."""
    task.data(0)
    before = {name: value.clone() for name, value in task.model.records.state_dict().items()}
    observed = [observation(0, 0.5), observation(1, 0.1), observation(0, -0.5)]
    task.after_step(observed)
    for records, old in ((task.model.records, 0.8), (task.averaged, 0.9)):
        for m, seen in ((0, (observed[0], observed[2])), (1, (observed[1],))):
            for name in ("histogram", "mean", "std"):
                expected = before[name][m]
                for one in seen:
                    expected = old * expected + (1 - old) * getattr(one.style, name)[0]
                torch.testing.assert_close(getattr(records, name)[m], expected, atol=1e-6, rtol=0)


def observation(sequence, mean):
    histogram = torch.linspace(0, 0.1, 20)[None]
    return Observation(sequence, StyleStatistics(histogram, torch.tensor([mean]), torch.tensor([mean**2])))


def test_both_kinds_of_records_are_kept_and_restored(task, recipe, tmp_path):
    task.data(0)
    task.after_step([observation(0, 0.5), observation(1, -0.3)])
    torch.save(task.state_dict(), tmp_path / "state.pt")
    again = Stage1Task(Harmonizer(recipe.model), recipe, task.workspace)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert_same(again.model.records.state_dict(), task.model.records.state_dict())
    assert_same(again.averaged.state_dict(), task.averaged.state_dict())
    assert not torch.equal(again.model.records.mean, again.averaged.mean)
    again.data(0)  # a resumed run starts none of them again
    assert_same(again.averaged.state_dict(), task.averaged.state_dict())


def test_losses_of_an_item_move_nothing_by_themselves(task, recipe):
    item = task.data(0).train[0, 0]
    before = copy.deepcopy(task.state_dict())
    kinds = {"observed": 0, "compared": 0, "neither": 0}
    for seed in range(12):
        losses, observed = task.losses(task.modules, item, seed)
        assert set(losses) == {"total", "noise", "gradient", "ema"}
        chosen = draw(item, recipe, seed)
        reliable, unified = bool(chosen.t <= recipe.model.threshold), bool(chosen.unified)
        assert [one.sequence for one in observed] == [0] * (reliable and not unified)
        assert (losses["ema"] > 0) == (reliable and unified)
        kinds["neither" if not reliable else "compared" if unified else "observed"] += 1
    assert all(kinds.values())
    for kind in ("records", "averaged"):
        assert_same(task.state_dict()[kind], before[kind])


def test_validation_items_are_never_augmented(task, recipe):
    task.recipe = replace(recipe, augmentation=Augmentation(flip=True, noise=0.3))
    data = task.data(0)
    plain = task.workspace.cache(recipe.model, "train")
    assert [data.validation.scans[i].subject for i in range(len(data.validation))] == ["sub-02"] * 2
    index = plain.scans.index(data.train.cache.scans[data.train.order[0]])
    assert not torch.equal(data.train[0, 0].image, plain[index].image)
    own = task.workspace.cache(recipe.model, "validation")
    assert torch.equal(data.validation[0].image, own[0].image)


def test_a_position_always_gives_the_same_volume(task, recipe):
    task.recipe = replace(recipe, augmentation=Augmentation(flip=True, shift=1, noise=0.3))
    train = task.data(0).train
    first = train[3, 1]
    assert not torch.equal(first.image, train[1, 0].image)
    assert torch.equal(first.image, task.data(0).train[3, 1].image)
