import hashlib
import json
import math
from dataclasses import replace

import pytest
import torch

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.method.config import ScheduleConfig
from bids_mmh.method.diffusion.gradient import gradient_map
from bids_mmh.method.diffusion.schedule import NoiseSchedule
from bids_mmh.method.harmonizer import Harmonizer, Styled, read_config
from bids_mmh.method.model_files import CONFIG_FILE, WEIGHTS_FILE, model_sha256
from bids_mmh.method.network_grid import coarse_brain, coarse_mask
from bids_mmh.method.style.code import quantiles, style_code
from bids_mmh.method.style.statistics import style_statistics

T1W, T2W = torch.tensor([0]), torch.tensor([1])
BETA = torch.linspace(math.sqrt(0.0015), math.sqrt(0.0195), 1000, dtype=torch.float64) ** 2
ALPHA_BAR = torch.cat([torch.ones(1, dtype=torch.float64), (1 - BETA).cumprod(0)])  # from t = 0


@pytest.fixture
def folder(harmonizer, tmp_path):
    harmonizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edit_config(folder, change):
    file = folder / CONFIG_FILE
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


class Listener:
    """What a network is called with: timestep, gradient map and style code of every call."""

    def __init__(self, network):
        self.t, self.gradient, self.code = [], [], []
        network.register_forward_pre_hook(self._listen)

    def _listen(self, _, inputs):
        self.t.append(int(inputs[1][0]))
        self.gradient.append(inputs[2])
        self.code.append(inputs[4])


def remaining(t, depth=40):
    """Share of the way that is still to go at timestep t: noise-to-signal ratio over that at the depth."""
    return math.sqrt((1 - ALPHA_BAR[t]) / ALPHA_BAR[t] * ALPHA_BAR[depth] / (1 - ALPHA_BAR[depth]))


def moments(volume, mask):
    return torch.stack([volume[mask].mean(), volume[mask].std()])[None]


def assert_saved_whole(model, folder, head):
    """What is loaded has every value of the model and answers bit by bit alike."""
    loaded = Harmonizer.from_pretrained(folder)
    assert loaded.config == model.config
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    model.to(memory_format=torch.channels_last_3d)
    for stage in (None, 1):
        assert torch.equal(loaded(*head, T1W, stage=stage), model(*head, T1W, stage=stage))
    return loaded


def test_saved_model_answers_bit_by_bit_alike(harmonizer, folder, head):
    loaded = assert_saved_whole(harmonizer, folder, head)
    assert loaded.target_network is None
    assert loaded.target_records is None


def test_deterministic(two_stage, head, either_precision):
    assert torch.equal(two_stage(*head, T1W), two_stage(*head, T1W))


@pytest.mark.parametrize("intensity_map", ["moments", "none"])
def test_result_follows_record_and_sequence(build, set_record, toy, head, intensity_map):
    harmonizer = build(replace(toy, intensity_map=intensity_map))
    inside = head[1]
    result = harmonizer(*head, T1W)[inside]
    of_t2w = harmonizer(*head, T2W)[inside]
    assert not torch.equal(of_t2w, result)
    set_record(harmonizer.records, 0, 0.6, 0.1)
    assert not torch.allclose(harmonizer(*head, T1W)[inside], result, atol=1e-3)
    assert torch.equal(harmonizer(*head, T2W)[inside], of_t2w)


def test_result_follows_the_histogram_of_the_record(harmonizer, head):
    """The code has its quantiles, beside mean and standard deviation."""
    result = harmonizer(*head, T1W)
    harmonizer.records.histogram[0] = harmonizer.records.histogram[0].roll(2)
    assert not torch.allclose(harmonizer(*head, T1W), result, atol=1e-4)


def test_inversion_is_conditioned_on_the_own_style_and_sampling_on_the_record(harmonizer, head, float32):
    calls = Listener(harmonizer.network)
    harmonizer(*head, T1W)
    own = style_statistics(*head, bins=20)
    torch.testing.assert_close(own.moments, moments(*head))
    assert calls.t == [1, 13, 27, 40, 20]
    for code in calls.code[:3]:
        torch.testing.assert_close(code[:, :2], own.moments)
        assert not code[:, 2:].any()
    record = harmonizer.records.of(T1W)
    torch.testing.assert_close(record.moments, torch.tensor([[0.1, 0.3]]))
    way = [record.moments - own.moments, quantiles(record.histogram) - quantiles(own.histogram)]
    for t, code in zip(calls.t[3:], calls.code[3:], strict=True):
        expected = torch.cat([record.moments, 10 * remaining(t) * torch.cat(way, 1)], 1)
        torch.testing.assert_close(code, expected)


def test_every_step_heads_for_the_same_volume(toy, set_record, head, float32):
    """A network that shifts volumes by the displacement it is given ends at the right mean, in any steps."""

    class Shift(torch.nn.Module):
        def forward(self, volume, t, gradient, sequence, style):
            kept = float(ALPHA_BAR[t])
            clean = (volume / math.sqrt(kept)) + style[0, 2] / 10
            return (volume - math.sqrt(kept) * clean) / math.sqrt(1 - kept)

    for steps in (1, 2, 5):
        model = Harmonizer(replace(toy, intensity_map="none", inversion_steps=3, sampling_steps=steps))
        model.network = Shift()
        set_record(model.records, 0, 0.1, 0.3)
        assert model(*head, T1W)[head[1]].mean().item() == pytest.approx(0.1, abs=1e-4)


def test_a_model_of_records_is_conditioned_on_moments_alone(build, toy, head, float32):
    harmonizer = build(replace(toy, network=replace(toy.network, style_code="record")))
    calls = Listener(harmonizer.network)
    harmonizer(*head, T1W)
    for code in calls.code[:3]:
        torch.testing.assert_close(code, moments(*head))
    for code in calls.code[3:]:
        torch.testing.assert_close(code, torch.tensor([[0.1, 0.3]]))


def test_the_gradient_map_is_that_of_the_scan_at_every_step(two_stage, head):
    calls, calls_in_stage_2 = Listener(two_stage.network), Listener(two_stage.target_network)
    two_stage(*head, T1W)
    assert len(calls.gradient) == 3 + 2 + 3
    assert len(calls_in_stage_2.gradient) == 2
    for gradient in calls.gradient + calls_in_stage_2.gradient:
        assert torch.equal(gradient, gradient_map(head[0]))


def test_background_is_exactly_minus_one(two_stage, head, either_precision):
    volume, mask = head
    for stage in (None, 1):
        result = two_stage(volume, mask, T1W, stage=stage)
        assert (result[~mask] == -1).all()
        assert (result[mask] != -1).all()
        assert result.dtype == torch.float32


def test_an_untrained_model_returns_nearly_its_input(toy, head):
    """A network that answers 0 scales up and down by the same ᾱ."""
    volume, mask = head
    plain = Harmonizer(replace(toy, intensity_map="none"))
    torch.testing.assert_close(plain(volume, mask, T1W), volume, atol=1e-5, rtol=0)


def there_and_back(harmonizer, head, *, back_to_own):
    with torch.no_grad():
        anchor = harmonizer.anchor(*head, T1W)
        latent = harmonizer.invert(Styled(head[0], harmonizer.style(head[0], anchor)), anchor)
        condition = latent.own if back_to_own else harmonizer.records.of(T1W)
        return harmonizer.sample(harmonizer.network, latent, anchor, condition)


@pytest.mark.parametrize("intensity_map", ["moments", "none"])
def test_conditioned_on_its_own_style_a_scan_returns(build, toy, head, intensity_map, float32):
    """And the more nearly, the more steps; conditioned on the record, it goes elsewhere.

    Of a network that answers in ε alone: a direct change under the own style is what L_N trains away.
    """
    toy = replace(toy, network=replace(toy.network, direct_change=False))
    errors = []
    for steps in (5, 20):
        harmonizer = build(
            replace(toy, intensity_map=intensity_map, inversion_steps=steps, sampling_steps=steps)
        )
        errors.append(float((there_and_back(harmonizer, head, back_to_own=True) - head[0]).abs().mean()))
    moved = float((there_and_back(harmonizer, head, back_to_own=False) - head[0]).abs().mean())
    assert errors[0] > 2 * errors[1]
    assert errors[1] < 0.002
    assert moved > 5 * errors[1]


def test_output_adain_lands_on_the_record(toy, set_record, head):
    volume, mask = head
    model = Harmonizer(toy)
    set_record(model.records, 1, 0.1, 0.3)
    result = model(volume, mask, T2W)
    assert result[mask].mean().item() == pytest.approx(0.1, abs=1e-4)
    assert result[mask].std(correction=0).item() == pytest.approx(0.3, abs=1e-4)


def pair(head):
    """Two scans with masks of their own, one of each sequence."""
    volume, mask = head
    smaller = mask.clone()
    smaller[:, :, :3] = False
    other = torch.where(smaller, 0.5 * volume.flip(4) + 0.2, -1.0)
    return torch.cat([volume, other]), torch.cat([mask, smaller]), torch.tensor([0, 1])


@pytest.mark.parametrize("stage", [None, 1])
def test_scans_of_a_batch_do_not_meet(two_stage, head, stage, float32):
    volumes, masks, sequences = pair(head)
    together = two_stage(volumes, masks, sequences, stage=stage)
    for i in range(2):
        alone = two_stage(volumes[i : i + 1], masks[i : i + 1], sequences[i : i + 1], stage=stage)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=0)


def test_stage_2_starts_from_the_result_of_stage_1(two_stage, head, float32):
    """The Stage I network inverts it, conditioned on its style; the fine-tuned copy samples the latent."""
    calls, calls_in_stage_2 = Listener(two_stage.network), Listener(two_stage.target_network)
    unified = two_stage(*head, T1W, stage=1)
    assert calls.t == [1, 13, 27, 40, 20]
    assert not calls_in_stage_2.t
    two_stage(*head, T1W)
    assert calls.t[5:] == [1, 13, 27, 40, 20, 1, 13, 27]
    assert calls_in_stage_2.t == [40, 20]
    own = style_statistics(unified, head[1], bins=20)
    for code in calls.code[10:]:
        torch.testing.assert_close(code, style_code(own, own))
    target = two_stage.target_records.of(T1W)
    torch.testing.assert_close(target.moments, torch.tensor([[0.3, 0.2]]))
    for t, code in zip(calls_in_stage_2.t, calls_in_stage_2.code, strict=True):
        left = torch.tensor([remaining(t)])
        torch.testing.assert_close(code, style_code(own, target, remaining=left))


def test_stage_1_stops_in_the_unified_domain(two_stage, build, toy, head):
    plain = build(toy)
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, two_stage.network.state_dict()[name])
    unified = plain(*head, T1W)
    assert torch.equal(two_stage(*head, T1W, stage=1), unified)
    assert not torch.allclose(two_stage(*head, T1W), unified, atol=0.01)


def test_stage_2_by_name_is_the_default_of_a_model_with_a_target(two_stage, head):
    assert torch.equal(two_stage(*head, T1W, stage=2), two_stage(*head, T1W))


@pytest.mark.parametrize(("kind", "stage"), [("harmonizer", 2), ("harmonizer", 0), ("two_stage", 3)])
def test_stages_that_a_model_does_not_have(request, head, kind, stage):
    model = request.getfixturevalue(kind)
    with pytest.raises(ValueError, match=rf"stage is {stage} but 'toy' takes one of \(None, 1"):
        model(*head, T1W, stage=stage)


@pytest.mark.parametrize("intensity_map", ["moments", "none"])
def test_stage_2_follows_the_records_of_the_target(build, set_record, toy_target, head, intensity_map):
    model = build(replace(toy_target, intensity_map=intensity_map))
    result, unified, of_t2w = model(*head, T1W), model(*head, T1W, stage=1), model(*head, T2W)
    set_record(model.target_records, 0, -0.3, 0.4)
    assert not torch.allclose(model(*head, T1W), result, atol=1e-3)
    assert torch.equal(model(*head, T1W, stage=1), unified)
    assert torch.equal(model(*head, T2W), of_t2w)


def test_stage_2_lands_on_the_record_of_the_target(two_stage, head):
    result = two_stage(*head, T1W)[head[1]]
    assert result.mean().item() == pytest.approx(0.3, abs=1e-4)
    assert result.std(correction=0).item() == pytest.approx(0.2, abs=1e-4)


def test_stage_2_follows_its_own_network(two_stage, head):
    result, unified = two_stage(*head, T1W), two_stage(*head, T1W, stage=1)
    with torch.no_grad():
        two_stage.target_network.head.weight.mul_(1.5)
    assert not torch.allclose(two_stage(*head, T1W), result, atol=1e-4)
    assert torch.equal(two_stage(*head, T1W, stage=1), unified)


def test_a_saved_target_keeps_both_networks_and_records(two_stage, head, tmp_path):
    two_stage.save_pretrained(tmp_path)
    loaded = assert_saved_whole(two_stage, tmp_path, head)
    assert loaded.config.target.site == "alpha"
    weights = [dict(network.named_parameters()) for network in (loaded.network, loaded.target_network)]
    assert not torch.equal(weights[0]["stem.weight"], weights[1]["stem.weight"])
    assert loaded.records.mean.tolist() == pytest.approx([0.1, -0.2])
    assert loaded.target_records.mean.tolist() == pytest.approx([0.3, -0.4])
    assert loaded.target_records.seen.all()


def test_the_noise_schedule_is_saved_and_used(build, toy, head, tmp_path):
    """A model that was trained on another schedule keeps it, and answers as it does there."""
    usual, other = build(toy), build(replace(toy, schedule=ScheduleConfig(beta_end=0.03)))
    other.load_state_dict(usual.state_dict())
    other.save_pretrained(tmp_path)
    loaded = Harmonizer.from_pretrained(tmp_path)
    assert loaded.config.schedule.beta_end == 0.03
    assert loaded.schedule == loaded.network.schedule == NoiseSchedule(ScheduleConfig(beta_end=0.03))
    other.to(memory_format=torch.channels_last_3d)  # as loaded: in bfloat16 the order of sums shows
    assert torch.equal(loaded(*head, T1W), other(*head, T1W))
    assert not torch.equal(loaded(*head, T1W), usual(*head, T1W))


@pytest.fixture
def coarse(build, toy_target):
    """A model of 16 mm whose network works at 32 mm."""
    return build(replace(toy_target, intensity_map="none", network_spacing=32.0))


def test_a_network_on_a_coarser_grid_sees_means_of_voxels(coarse, head):
    seen, volumes = Listener(coarse.network), []
    coarse.network.register_forward_pre_hook(lambda _, inputs: volumes.append(inputs[0]))
    volume, mask = head
    result = coarse(volume, mask, T1W, stage=1)
    cells = coarse_brain(volume, mask, 2)
    assert all(one.shape == (1, 1, 4, 4, 6) for one in volumes)
    for gradient in seen.gradient:
        assert torch.equal(gradient, gradient_map(cells))
    inside = coarse_mask(mask, 2)
    kept = math.sqrt(float(ALPHA_BAR[1]))
    assert (volumes[0] / kept - cells)[inside].abs().max() < 0.2  # a first step of the inversion away
    assert (result[~mask] == -1).all()
    change = (result - volume)[mask]
    assert change.abs().mean() > 0.01


def test_what_a_coarser_network_changes_is_slow(coarse, build, toy_target, head):
    """A neighbour's change differs less than it does where the network sees every voxel."""
    fine = build(replace(toy_target, intensity_map="none"))
    volume, mask = head
    both = mask[..., 1:] & mask[..., :-1]
    steps = [
        (model(volume, mask, T1W, stage=1) - volume).diff(dim=-1)[both].abs().mean()
        for model in (coarse, fine)
    ]
    assert steps[0] < steps[1] / 2


def test_a_model_with_a_coarser_network_is_saved_whole(coarse, head, tmp_path):
    coarse.save_pretrained(tmp_path)
    assert assert_saved_whole(coarse, tmp_path, head).config.network_spacing == 32.0


def test_a_folder_from_before_stage_2_loads(harmonizer, folder, head):
    def forget(values):
        for key in ("target", "gradient_condition", "ema_guidance", "schedule", "network_spacing"):
            del values[key]

    edit_config(folder, forget)
    assert_saved_whole(harmonizer, folder, head)


@pytest.mark.parametrize("kept", ["two_stage", "harmonizer"])
def test_weights_of_the_other_stage(request, toy, toy_target, tmp_path, kept):
    request.getfixturevalue(kept).save_pretrained(tmp_path)
    other = toy if kept == "two_stage" else toy_target
    (tmp_path / CONFIG_FILE).write_text(json.dumps(other.to_dict()))
    with pytest.raises(BadDataError, match=r"do not fit its configuration.*target_network"):
        Harmonizer.from_pretrained(tmp_path)


def test_without_gradient_condition_the_network_sees_zeros(build, toy_target, head):
    model = build(replace(toy_target, gradient_condition=False))
    calls = [Listener(model.network), Listener(model.target_network)]
    result = model(*head, T1W)
    for listener in calls:
        assert listener.gradient
        assert not any(gradient.any() for gradient in listener.gradient)
    assert not torch.equal(result, build(toy_target)(*head, T1W))


def test_without_ema_guidance_nothing_is_conditioned_on_and_no_moment_given(
    build, set_record, toy_target, head
):
    model = build(replace(toy_target, ema_guidance=False))
    assert model.config.intensity_map == "moments"
    calls = [Listener(model.network), Listener(model.target_network)]
    result, unified = model(*head, T1W), model(*head, T1W, stage=1)
    for listener in calls:
        assert listener.code
        assert not any(code.any() for code in listener.code)
    assert abs(unified[head[1]].mean().item() - 0.1) > 0.01
    assert abs(result[head[1]].mean().item() - 0.3) > 0.01
    for records in (model.records, model.target_records):
        set_record(records, 0, 0.6, 0.1)
    assert torch.equal(model(*head, T1W), result)


def sampled(model, head, tracked):
    """Result and gradients of the fine-tuned network when its output is asked to be 0."""
    anchor = model.anchor(*head, T1W)
    with torch.no_grad():
        latent = model.invert(Styled(head[0], model.style(head[0], anchor)), anchor)
    model.zero_grad()
    condition = model.target_records.of(T1W)
    result = model.sample(model.target_network, latent, anchor, condition, tracked=tracked)
    result[anchor.mask].square().sum().backward()
    assert all(p.grad is None for p in model.network.parameters())
    return result.detach(), [p.grad.clone() for p in model.target_network.parameters()]


def test_gradients_flow_through_the_tracked_steps_alone(build, toy_target, head, float32):
    model = build(replace(toy_target, intensity_map="none", sampling_steps=3))
    graph = []
    model.target_network.register_forward_pre_hook(lambda *_: graph.append(torch.is_grad_enabled()))
    result, gradients = sampled(model, head, None)
    whole, all_steps = sampled(model, head, 3)
    assert graph == [True] * 6
    assert torch.equal(whole, result)
    assert all(torch.equal(a, b) for a, b in zip(all_steps, gradients, strict=True))
    for tracked in (1, 2):
        graph.clear()
        truncated, last_steps = sampled(model, head, tracked)
        assert graph == [False] * (3 - tracked) + [True] * tracked
        assert torch.equal(truncated, result)
        assert all(gradient.any() for gradient in last_steps)
        assert not any(torch.equal(a, b) for a, b in zip(last_steps, gradients, strict=True))


@pytest.mark.parametrize("stage", [None, 1])
def test_bf16_where_it_is_native_changes_little(two_stage, head, monkeypatch, stage):
    results, computed = {}, []
    two_stage.network.stem.register_forward_hook(lambda *arguments: computed.append(arguments[-1].dtype))
    for native in (False, True):
        monkeypatch.setattr("bids_mmh.method.precision.has_native_bf16", lambda _, native=native: native)
        results[native] = two_stage(*head, T1W, stage=stage)
        assert results[native].dtype == torch.float32
    half = len(computed) // 2
    assert set(computed[:half]) == {torch.float32}
    assert set(computed[half:]) == {torch.bfloat16}
    difference = (results[True] - results[False]).abs()
    assert 0 < float(difference.max()) < 0.04
    assert float(difference.mean()) < 0.004


def test_style_is_measured_in_float32_all_the_same(harmonizer, head, bfloat16):
    calls = Listener(harmonizer.network)
    harmonizer(*head, T1W)
    own, record = style_statistics(*head, bins=20), harmonizer.records.of(T1W)
    torch.testing.assert_close(calls.code[0], style_code(own, own), atol=1e-6, rtol=0)
    left = torch.tensor([remaining(calls.t[-1])])
    torch.testing.assert_close(calls.code[-1], style_code(own, record, remaining=left), atol=1e-5, rtol=0)


def test_sequence_index(harmonizer):
    assert harmonizer.sequence_index("T2w") == 1
    with pytest.raises(BadDataError, match="'toy' knows T1w, T2w but not FLAIR: choose another model"):
        harmonizer.sequence_index("FLAIR")


@pytest.mark.parametrize("missing", [CONFIG_FILE, WEIGHTS_FILE])
def test_folder_without_a_file(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(NoInputError, match=f"is not a model folder: {missing} is missing"):
        Harmonizer.from_pretrained(folder)


@pytest.mark.parametrize("keep", [4, 2000])
def test_damaged_weights(folder, keep):
    file = folder / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(BadDataError, match=r"weights in .*model do not fit") as caught:
        Harmonizer.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network(folder):
    edit_config(folder, lambda values: values["network"].update(res_blocks=2))
    with pytest.raises(BadDataError, match="do not fit its configuration") as caught:
        Harmonizer.from_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(wings=2),
        lambda values: values.pop("network"),
        lambda values: values.update(network="big"),
        lambda values: values["network"].update(attention=[True]),
        lambda values: values["network"].update(style_code="moments"),
        lambda values: values.update(target={"site": "alpha"}),
        lambda values: values.update(target="alpha"),
    ],
)
def test_configuration_of_another_version(folder, change):
    edit_config(folder, change)
    with pytest.raises(BadDataError, match=r"config\.json is not a configuration of this version"):
        read_config(folder)


@pytest.mark.parametrize("text", ["{", "[]", "null", "3"])
def test_configuration_that_is_none(folder, text):
    (folder / CONFIG_FILE).write_text(text)
    with pytest.raises(BadDataError, match="is not a configuration"):
        read_config(folder)


def test_model_sha256(folder):
    content = (folder / CONFIG_FILE).read_bytes() + (folder / WEIGHTS_FILE).read_bytes()
    assert model_sha256(folder) == hashlib.sha256(content).hexdigest()
    config = folder / CONFIG_FILE
    config.write_text(config.read_text().replace('"depth": ', '"depth":  '))
    assert model_sha256(folder) != hashlib.sha256(content).hexdigest()
