import hashlib
import json
from dataclasses import replace

import pytest
import torch

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.method.harmonizer import CONFIG_FILE, WEIGHTS_FILE, Harmonizer, model_sha256, read_config

T1W = torch.tensor([0])


@pytest.fixture
def folder(harmonizer, tmp_path):
    harmonizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edit_config(folder, change):
    file = folder / CONFIG_FILE
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def test_saved_model_answers_bit_by_bit_alike(harmonizer, folder, head):
    loaded = Harmonizer.from_pretrained(folder)
    assert loaded.config == harmonizer.config
    assert not loaded.training
    for name, value in harmonizer.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    harmonizer.to(memory_format=torch.channels_last_3d)
    assert torch.equal(loaded(*head, T1W), harmonizer(*head, T1W))


def test_deterministic(harmonizer, head):
    assert torch.equal(harmonizer(*head, T1W), harmonizer(*head, T1W))


def test_result_follows_record_and_sequence(harmonizer, head):
    result = harmonizer(*head, T1W)
    inside = head[1]
    by_default = harmonizer(*head, T1W, harmonizer.records.of(T1W).moments)
    assert torch.equal(by_default, result)
    assert not torch.equal(harmonizer(*head, T1W, torch.tensor([[0.6, 0.1]]))[inside], result[inside])
    assert not torch.equal(harmonizer(*head, torch.tensor([1]))[inside], result[inside])


def test_inversion_is_told_the_own_style_and_sampling_the_record(harmonizer, head):
    told = []
    harmonizer.network.register_forward_pre_hook(lambda _, inputs: told.append((int(inputs[1]), inputs[4])))
    harmonizer(*head, T1W)
    inside = head[0][head[1]]
    own = torch.stack([inside.mean(), inside.std()])[None]
    assert [t for t, _ in told] == [1, 13, 27, 40, 20]
    for _, style in told[:3]:
        torch.testing.assert_close(style, own)
    for _, style in told[3:]:
        torch.testing.assert_close(style, torch.tensor([[0.1, 0.3]]))


def test_background_is_exactly_minus_one(harmonizer, head):
    volume, mask = head
    result = harmonizer(volume, mask, T1W)
    assert (result[~mask] == -1).all()
    assert (result[mask] != -1).all()
    assert result.dtype == torch.float32


def test_sides_that_do_not_fit_are_padded_with_background(harmonizer, head):
    volume, mask = (x[..., :7, :, :11] for x in head)
    result = harmonizer(volume, mask, T1W)
    assert result.shape == volume.shape
    full = harmonizer(*head, T1W)  # beyond the crop there is background only, which is what padding adds
    assert torch.equal(result, full[..., :7, :, :11])


def test_an_untrained_model_returns_nearly_its_input(toy, head):
    """A network that answers 0 scales up and down by the same ᾱ."""
    volume, mask = head
    plain = Harmonizer(replace(toy, output_adain=False))
    torch.testing.assert_close(plain(volume, mask, T1W), volume, atol=1e-5, rtol=0)


def test_output_adain_lands_on_the_asked_style(toy, head):
    volume, mask = head
    style = torch.tensor([[0.1, 0.3]])
    result = Harmonizer(toy)(volume, mask, T1W, style)
    assert result[mask].mean().item() == pytest.approx(0.1, abs=1e-4)
    assert result[mask].std(correction=0).item() == pytest.approx(0.3, abs=1e-4)


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
