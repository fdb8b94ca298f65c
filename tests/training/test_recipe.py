from dataclasses import fields, replace
from pathlib import Path

import pytest

from bids_mmh.errors import ExitCode, UsageError
from bids_mmh.method.config import PRESETS, ScheduleConfig
from bids_mmh.training.recipe import Augmentation, Phase, Recipe, Stage2Recipe, load_recipe, model_on_grid

PHASE = "[[phase]]\nspacing = 4.0\nsteps = 10\n"


@pytest.fixture
def load(tmp_path):
    def load(text):
        file = tmp_path / "recipe.toml"
        file.write_text(text)
        return load_recipe(file)

    return load


def test_reads_everything(load):
    recipe = load(
        "[model]\npreset = 'tiny'\nname = 'mine'\nsequences = ['T1w', 'T2w', 'FLAIR']\ndepth = 60\n"
        "[[phase]]\nspacing = 4\nsteps = 10\naccumulate = 1\n"
        "[[phase]]\nspacing = 2.0\nsteps = 20\nlearning_rate = 5e-5\n"
        "[training]\nseed = 3\nweight_ema = 5\n"
    )
    assert recipe.model.network == PRESETS["tiny"].network
    assert recipe.model.name == "mine"
    assert recipe.model.sequences == ("T1w", "T2w", "FLAIR")
    assert (recipe.model.depth, recipe.model.inversion_steps) == (60, 4)
    assert recipe.phases == (Phase(4.0, 10, accumulate=1), Phase(2.0, 20, learning_rate=5e-5))
    assert (recipe.seed, recipe.weight_ema, recipe.validation) == (3, 5.0, 0.2)


def test_stage_two_and_augmentation(load):
    plain = load(PHASE)
    assert (plain.stage2, plain.augmentation, plain.travelling) == (None, Augmentation(), "test")
    recipe = load(
        "[augmentation]\nflip = true\nshift = 2\n[stage2]\ntarget_site = 'beta'\naggregation = 'axial_mean'\n"
        "[model]\nema_guidance = false\n[training]\ntest_subjects = ['01', 'sub-02']\npatience = 5\n" + PHASE
    )
    assert recipe.augmentation == Augmentation(flip=True, shift=2)
    assert recipe.stage2 == Stage2Recipe(target_site="beta", aggregation="axial_mean")
    assert (recipe.test_subjects, recipe.model.ema_guidance, recipe.patience) == (("01", "sub-02"), False, 5)


def test_the_style_code_is_the_only_part_of_the_network_to_choose(load):
    network = load("[model]\npreset = 'tiny'\nstyle_code = 'record'\n" + PHASE).model.network
    assert network == replace(PRESETS["tiny"].network, style_code="record", intensity_bins=0)


def test_the_schedule_belongs_to_the_model(load):
    assert load(PHASE).model.schedule == ScheduleConfig()
    schedule = load("[model.schedule]\nbeta_end = 0.03\n" + PHASE).model.schedule
    assert schedule == ScheduleConfig(beta_end=0.03)


def test_an_empty_table_asks_for_stage_two(load):
    assert load("[stage2]\n" + PHASE).stage2 == Stage2Recipe()


@pytest.mark.parametrize(
    ("given", "spacing", "shape"), [("", 1.0, (144, 184, 184)), ("spacing = 2", 2.0, (72, 92, 92))]
)
def test_the_grid_is_the_models_whatever_the_phases_train_on(load, given, spacing, shape):
    model = load(f"[model]\n{given}\n[[phase]]\nspacing = 4.0\nsteps = 1\n").model
    assert (model.spacing, model.shape) == (spacing, shape)
    assert model.network == PRESETS["lite"].network


def test_model_on_grid():
    assert model_on_grid(PRESETS["tiny"], 1.0).shape == (144, 184, 184)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[model", "cannot be read"),
        ("", r"no \[\[phase\]\] table"),
        ("[extra]\n" + PHASE, "unknown key 'extra'"),
        ("[model]\nwings = 2\n" + PHASE, "unknown key 'wings'; known are bins, decay"),
        ("[model]\nnetwork = 2\n" + PHASE, "unknown key 'network'"),
        ("[training]\nphases = 2\n" + PHASE, "unknown key 'phases'"),
        (PHASE + "epochs = 2\n", "unknown key 'epochs'"),
        ("[model]\npreset = 'huge'\n" + PHASE, "unknown preset 'huge'; there are paper, lite, tiny"),
        ("[[phase]]\nspacing = 4.0\n", "wrong value of 'steps': field required"),
        ("[[phase]]\nspacing = 4.0\nsteps = 0\n", "wrong value of 'steps': .* greater than 0"),
        ("[training]\nseed = 'x'\n" + PHASE, "wrong value of 'seed'"),
        ("[model]\nschedule = 3\n" + PHASE, "wrong value of 'schedule'"),
        ("[model.schedule]\nwings = 2\n" + PHASE, "unknown key 'wings'; known are beta_end"),
        ("[model.schedule]\nbeta_start = 0.5\n" + PHASE, "beta_start is 0.5"),
        ("[model]\nsequences = 3\n" + PHASE, "wrong value of 'sequences'"),
        (
            "[model]\nstyle_code = 'moments'\n" + PHASE,
            "wrong value of 'style_code'.*'displacement' or 'record'",
        ),
        ("model = 3\n" + PHASE, "wrong value of 'model'"),
        ("phase = 3\n", "wrong value of 'phase'"),
        ("[stage2]\nwings = 2\n" + PHASE, "unknown key 'wings'; known are accumulate"),
        (
            "[stage2]\naggregation = 'sum'\n" + PHASE,
            "wrong value of 'aggregation'.*'attention' or 'axial_mean'",
        ),
        ("[augmentation]\nshift = -1\n" + PHASE, "wrong value of 'shift'"),
        ("[training]\nstage2 = 3\n" + PHASE, "unknown key 'stage2'"),
        ("[training]\ntravelling = 'ignore'\n" + PHASE, "wrong value of 'travelling'"),
        ("[training]\nweight_average = 1.0\n" + PHASE, "wrong value of 'weight_average'"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(load, text, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        load(text)
    assert caught.value.code == ExitCode.USAGE
    assert "recipe.toml" in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize("kind", [Phase, Augmentation, Stage2Recipe, Recipe])
def test_the_guide_names_every_key(kind):
    guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    tables = {"model", "phases", "augmentation", "simulation", "stage2"}
    assert [f.name for f in fields(kind) if f.name not in tables and f"`{f.name}`" not in guide] == []
