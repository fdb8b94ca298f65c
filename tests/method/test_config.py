import json
from dataclasses import replace

import pytest

from bids_mmh.method.config import PRESETS, ModelConfig, NetworkConfig, ScheduleConfig, TargetConfig

TARGET = TargetConfig(site="alpha", encoder="embedded", encoder_digest="0f", aggregation="attention")


@pytest.mark.parametrize("preset", PRESETS)
def test_json_round_trip(preset):
    config = PRESETS[preset]
    again = ModelConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert hash(again) == hash(config)


def test_json_round_trip_of_a_target_and_of_the_ablations():
    tiny = PRESETS["tiny"]
    config = replace(
        tiny,
        network=replace(tiny.network, style_code="record", intensity_bins=0),
        intensity_map="none",
        gradient_condition=False,
        ema_guidance=False,
        schedule=ScheduleConfig(timesteps=500, beta_end=0.03),
        target=TARGET,
    )
    again = ModelConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.target == TARGET
    assert hash(again) == hash(config)


def test_a_configuration_without_later_keys_is_that_of_stage_i():
    values = PRESETS["tiny"].to_dict()
    for key in ("target", "gradient_condition", "ema_guidance", "intensity_map", "schedule"):
        del values[key]
    assert ModelConfig.from_dict(values) == PRESETS["tiny"]


def test_presets_are_whole_models_of_stage_i():
    for config in PRESETS.values():
        assert config.target is None
        assert config.gradient_condition
        assert config.ema_guidance
        assert config.network.style_code == "tissues"
        assert config.intensity_map == "tissues"


def test_a_target_is_whole():
    values = {**PRESETS["tiny"].to_dict(), "target": {"site": "alpha"}}
    with pytest.raises(TypeError, match="encoder"):
        ModelConfig.from_dict(values)


def test_unknown_keys_are_refused():
    values = PRESETS["tiny"].to_dict()
    with pytest.raises(TypeError, match="wings"):
        ModelConfig.from_dict({**values, "wings": 2})
    with pytest.raises(TypeError, match="wings"):
        ModelConfig.from_dict({**values, "network": {**values["network"], "wings": 2}})
    with pytest.raises(TypeError, match="wings"):
        ModelConfig.from_dict({**values, "target": {"site": "alpha", "wings": 2}})


@pytest.mark.parametrize("style_code", ["moments", "", None])
def test_unknown_style_codes_are_refused(style_code):
    values = PRESETS["tiny"].to_dict()
    with pytest.raises(ValueError, match=f"style_code is '{style_code}' but must be tissues or displacement"):
        ModelConfig.from_dict({**values, "network": {**values["network"], "style_code": style_code}})


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_grids_cover_the_field_of_view(preset):
    config = PRESETS[preset]
    assert tuple(side * config.spacing for side in config.shape) == (144, 184, 184)


def test_paper_preset_is_that_of_the_paper():
    config = PRESETS["paper"]
    assert config.network.channels == (32, 64, 256, 256)
    assert (config.inversion_steps, config.sampling_steps) == (35, 25)
    assert (config.bins, config.threshold, config.decay) == (100, 100, 0.8)
    assert all(side % config.network.multiple == 0 for side in config.shape)


@pytest.mark.parametrize(("channels", "attention"), [((8, 16), (True,)), ((), ()), ((8, 12), (False, False))])
def test_impossible_networks_are_refused(channels, attention):
    with pytest.raises(ValueError, match="channels"):
        NetworkConfig(channels=channels, attention=attention, res_blocks=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intensity_map": "tissue"}, "intensity_map is 'tissue'"),
        ({"strength": 1.5}, "strength is 1.5"),
        ({"denoise": -1.0}, "denoise is -1.0"),
        ({"network_spacing": 0.0}, "network_spacing is 0.0 but must be above 0"),
        ({"depth": 1001}, "depth is 1001 but the schedule has 1000"),
        ({"schedule": {"timesteps": 0}}, "timesteps is 0"),
        ({"schedule": {"beta_start": 0.1}}, "beta_start is 0.1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict({**PRESETS["tiny"].to_dict(), **change})


def test_bins_of_intensity_need_tissue_styles():
    with pytest.raises(ValueError, match="need style_code 'tissues'"):
        replace(PRESETS["tiny"].network, style_code="displacement")


@pytest.mark.parametrize(("spacing", "coarsening"), [(1.0, 2), (2.0, 1), (4.0, 1), (0.5, 4)])
def test_voxels_of_the_network(spacing, coarsening):
    config = replace(PRESETS["tiny"], spacing=spacing, network_spacing=2.0)
    assert config.coarsening == coarsening
