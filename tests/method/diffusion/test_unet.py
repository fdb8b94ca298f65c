from dataclasses import replace

import pytest
import torch
from torch.nn.functional import pad

from bids_mmh.method.config import PRESETS
from bids_mmh.method.diffusion.blocks import SelfAttention
from bids_mmh.method.diffusion.unet import ConditionalUNet, soft_bins
from bids_mmh.method.style.code import code_length

SHAPE = (1, 1, 4, 4, 8)


def code(*beginning):
    """A style code that begins so and goes on with zeros: no displacement."""
    style = torch.zeros(1, code_length("displacement"))
    style[0, : len(beginning)] = torch.tensor(beginning)
    return style


@pytest.fixture
def inputs(rng):
    return {
        "volume": torch.randn(SHAPE, generator=rng),
        "t": torch.tensor([5]),
        "gradient": torch.randn(SHAPE, generator=rng),
        "sequence": torch.tensor([0]),
        "style": code(0.1, 0.4),
    }


OTHER = {
    "t": torch.tensor([90]),
    "gradient": torch.zeros(SHAPE),
    "sequence": torch.tensor([1]),
    "style": code(-0.3, 0.7),
}


@pytest.fixture
def network(toy_network, randomise):
    return randomise(ConditionalUNet(toy_network, sequences=2))


@pytest.fixture
def indirect(toy_network, randomise):
    """A network whose output knows t by what its layers heard only."""
    return randomise(ConditionalUNet(replace(toy_network, direct_change=False), sequences=2))


def change(network, inputs, name):
    """Mean absolute change of the output when one input is another, relative to the output."""
    with torch.no_grad():
        before, after = network(**inputs), network(**{**inputs, name: OTHER[name]})
    return float((after - before).abs().mean() / before.abs().mean())


def test_fresh_network_answers_zero(toy_network, inputs):
    assert not ConditionalUNet(toy_network, 2)(**inputs).any()


def test_style_is_silent_at_the_start(toy_network, inputs):
    """AdaIN starts as identity: with every layer but the style MLPs awake, the style changes nothing."""
    network = ConditionalUNet(toy_network, 2)
    for name, parameter in network.named_parameters():
        if ".style." not in name and "style_gain" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    assert network(**inputs).any()
    assert change(network, inputs, "style") == 0
    assert change(network, inputs, "t") > 0


@pytest.mark.parametrize("name", OTHER)
def test_every_condition_is_heard(network, inputs, name):
    assert change(network, inputs, name) > 1e-3


@pytest.mark.parametrize("number", range(code_length("displacement")))
def test_every_number_of_the_style_code_is_heard(network, inputs, number):
    other = inputs["style"].clone()
    other[0, number] += 1.0
    with torch.no_grad():
        before, after = network(**inputs), network(**{**inputs, "style": other})
    assert float((after - before).abs().mean() / before.abs().mean()) > 1e-3


@pytest.mark.parametrize("kind", ["displacement", "record"])
def test_a_network_takes_the_code_of_its_configuration(toy_network, inputs, kind):
    network = ConditionalUNet(replace(toy_network, style_code=kind), 2)
    style = torch.ones(1, code_length(kind))
    assert network(**{**inputs, "style": style}).shape == SHAPE
    with pytest.raises(RuntimeError, match="shapes"):
        network(**{**inputs, "style": style[:, 1:]})


def silence_conditions(network, *, decoder_level=None):
    """Make all of a network deaf to t and m but its decoder, or but one level of that."""
    spoken = "decoder." if decoder_level is None else f"decoder.{decoder_level}."
    for name, parameter in network.named_parameters():
        if (".condition." in name and not name.startswith(spoken)) or name.startswith("gain."):
            torch.nn.init.zeros_(parameter)


@pytest.mark.parametrize("level", [None, 0, 1])
@pytest.mark.parametrize("name", ["t", "sequence"])
def test_the_decoder_depends_on_time_and_sequence(indirect, inputs, name, level):
    """With everything else deaf to t and m, what changes the output went through the decoder.

    Normalising after the embedding is added would cancel it in every decoder block: this is the test of it.
    """
    silence_conditions(indirect, decoder_level=level)
    assert change(indirect, inputs, name) > 1e-3


@pytest.mark.parametrize("level", [0, 1])
def test_each_decoder_level_depends_on_the_style(indirect, inputs, level):
    for parameter in indirect.decoder[1 - level].style.parameters():
        torch.nn.init.zeros_(parameter)
    assert change(indirect, inputs, "style") > 1e-3


@pytest.mark.parametrize("name", ["t", "sequence"])
def test_the_direct_path_depends_on_time_and_sequence(indirect, inputs, name):
    """The gain on the network's own input, which bypasses all levels."""
    silence_conditions(indirect, decoder_level="none")
    assert change(indirect, inputs, name) == 0
    torch.nn.init.ones_(indirect.gain.weight)
    assert change(indirect, inputs, name) > 1e-3


def test_the_direct_path_depends_on_the_style(network, inputs):
    for name, parameter in network.named_parameters():
        if ".style." in name:
            torch.nn.init.zeros_(parameter)
    assert change(network, inputs, "style") > 1e-3


@pytest.mark.parametrize("t", [1, 20, 500])
def test_a_direct_change_moves_the_clean_estimate_as_far_at_every_t(toy_network, inputs, t):
    """The head's second half is a change of the clean volume (Eq. 4), whatever the noise."""
    network = ConditionalUNet(toy_network, 2)
    with torch.no_grad():
        network.head.bias[1] = 0.25
    times = torch.tensor([t])
    epsilon = network(**{**inputs, "t": times})
    moved = network.schedule.clean_estimate(inputs["volume"], epsilon, times)
    still = network.schedule.clean_estimate(inputs["volume"], torch.zeros_like(epsilon), times)
    torch.testing.assert_close(moved - still, torch.full_like(moved, 0.25), atol=1e-5, rtol=0)


def test_encoder_and_middle_do_not_hear_the_style(network, inputs):
    seen = []
    handle = network.middle[-1].register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    assert change(network, inputs, "style") > 0
    change(network, inputs, "t")
    handle.remove()
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[2], seen[3])


@pytest.mark.parametrize("patch", [1, 2])
def test_output_has_the_shape_of_the_volume(toy_network, patch, randomise):
    network = randomise(ConditionalUNet(replace(toy_network, patch=patch), 2))
    assert network.config.multiple == 2 * patch
    volume = torch.zeros(2, 1, 4, 8, 12)
    epsilon = network(volume, torch.tensor([1, 50]), volume, torch.tensor([0, 1]), torch.ones(2, 15))
    assert epsilon.shape == volume.shape
    assert not torch.equal(epsilon[0], epsilon[1])


def test_samples_of_a_batch_do_not_meet(network, inputs, rng):
    two = {k: torch.cat([v, OTHER.get(k, v)]) for k, v in inputs.items()}
    alone = network(**inputs)
    torch.testing.assert_close(network(**two)[:1], alone, atol=1e-5, rtol=1e-4)


def test_checkpointing_gives_the_same_gradients(network, inputs):
    gradients = []
    for network.checkpointing in (False, True):
        network.zero_grad()
        network(**inputs).square().sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.equal(plain, checkpointed)


@pytest.fixture(scope="module")
def paper():
    with torch.device("meta"):
        return ConditionalUNet(PRESETS["paper"].network, 2)


def test_paper_preset_has_the_size_of_the_paper(paper):
    """The authors' code has 62.4 million parameters, with attention at one level more."""
    assert sum(p.numel() for p in paper.parameters()) == pytest.approx(62.4e6, rel=0.05)


def test_paper_preset_attends_at_the_deepest_level_and_in_the_middle(paper):
    places = {
        name.removesuffix(".attention")
        for name, module in paper.named_modules()
        if isinstance(module, SelfAttention)
    }
    assert places == {
        *("encoder.3.0", "encoder.3.1"),
        "middle.0",
        *("decoder.0.stages.0", "decoder.0.stages.1", "decoder.0.stages.2"),
    }


def test_sides_that_do_not_fit_are_padded_with_background(network, inputs):
    volume, gradient = (inputs[name][..., :3, :, :7] for name in ("volume", "gradient"))
    answer = network(**{**inputs, "volume": volume, "gradient": gradient})
    by_hand = {
        "volume": pad(volume, (0, 1, 0, 0, 0, 1), value=-1.0),
        "gradient": pad(gradient, (0, 1, 0, 0, 0, 1)),
    }
    assert answer.shape == volume.shape
    assert torch.equal(answer, network(**{**inputs, **by_hand})[..., :3, :, :7])


def test_bins_say_what_a_voxel_is():
    """Memberships sum to 1 and follow the tissue, whichever of fluid and white matter is brighter."""
    for knots in ([-0.6, 0.2, 0.7], [0.6, -0.3, -0.7]):
        volume = torch.tensor([*knots, (knots[1] + knots[2]) / 2, 3 * knots[0]]).view(1, 1, 5, 1, 1)
        bins = soft_bins(volume, torch.tensor([knots]), 7)[0, :, :, 0, 0]
        torch.testing.assert_close(bins.sum(0), torch.ones(5))
        assert bins.argmax(0).tolist() == [1, 3, 5, 4, 0]


def test_bins_without_contrast_stay_finite():
    bins = soft_bins(torch.randn(1, 1, 4, 4, 4), torch.zeros(1, 3), 7)
    assert bins.isfinite().all()
