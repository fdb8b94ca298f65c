from dataclasses import replace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import nn

from bids_mmh.errors import BadDataError, NoInputError
from bids_mmh.method.encoder.files import download, find_weights, load_all, read_weights, tower_state
from bids_mmh.method.encoder.towers import TOWERS

STATE = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}


def test_a_file_is_itself_and_a_folder_holds_one(tmp_path):
    file = tmp_path / "model.bin"
    torch.save(STATE, file)
    assert find_weights(file) == find_weights(tmp_path) == file


def test_a_hub_cache_folder_is_searched(tmp_path):
    snapshot = tmp_path / "models--microsoft--BiomedCLIP" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    file = snapshot / "open_clip_pytorch_model.bin"
    torch.save(STATE, file)
    assert find_weights(tmp_path) == find_weights(tmp_path / "models--microsoft--BiomedCLIP") == file


def test_a_usual_name_wins_and_unusual_ones_must_be_chosen(tmp_path):
    for name in ("a.bin", "b.bin"):
        torch.save(STATE, tmp_path / name)
    with pytest.raises(NoInputError, match="name the file itself"):
        find_weights(tmp_path)
    save_file(STATE, tmp_path / "model.safetensors")
    assert find_weights(tmp_path).name == "model.safetensors"


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(NoInputError, match="does not exist"):
        find_weights(tmp_path / "none")


@pytest.mark.parametrize("wrapped", [STATE, {"state_dict": STATE, "epoch": 3}])
def test_pickled_and_safe_files_read_alike(tmp_path, wrapped):
    torch.save(wrapped, tmp_path / "model.bin")
    save_file(STATE, tmp_path / "model.safetensors")
    for name in ("model.bin", "model.safetensors"):
        state = read_weights(tmp_path / name)
        assert state.keys() == STATE.keys()
        assert all(torch.equal(state[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("name", ["model.bin", "model.safetensors"])
def test_damaged_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(BadDataError, match=rf"{name} cannot be read as weights"):
        read_weights(tmp_path / name)


class Bomb:
    def __reduce__(self):
        return (print, ("boom",))


def test_a_pickle_is_never_run(tmp_path, capsys):
    torch.save({"weight": Bomb()}, tmp_path / "model.bin")
    with pytest.raises(BadDataError):
        read_weights(tmp_path / "model.bin")
    assert "boom" not in capsys.readouterr().out


def test_a_file_without_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "model.bin")
    with pytest.raises(BadDataError, match="holds no weights"):
        read_weights(tmp_path / "model.bin")


def test_only_the_vision_half_of_a_whole_model_is_taken():
    whole = {
        "module.visual.trunk.a": torch.ones(1),
        "module.text.b": torch.ones(2),
        "module.c": torch.ones(3),
    }
    assert list(tower_state(whole)) == ["trunk.a"]
    assert list(tower_state({"trunk.a": torch.ones(1)})) == ["trunk.a"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": STATE["weight"]}, "lacks the weights 'bias'"),
        ({**STATE, "wings": torch.ones(1)}, "has weights 'wings'"),
        ({**STATE, "weight": torch.ones(3, 2)}, r"'weight' has the shape \(3, 2\) instead of \(2, 3\)"),
    ],
)
def test_nothing_is_loaded_in_part(tmp_path, state, message):
    module = nn.Linear(3, 2)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(BadDataError, match=message):
        load_all(module, state, tmp_path)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_without_a_network_one_sentence_says_what_to_do(monkeypatch):
    asked = []

    def offline(repository, name):
        asked.append((repository, name))
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(NoInputError, match=r"microsoft/BiomedCLIP.*--encoder embedded"):
        download(TOWERS["biomedclip"])
    with pytest.raises(NoInputError, match=r"open_clip_model\.safetensors"):
        download(TOWERS["clip"])
    assert len(asked) == 2  # not a second wait for another name of a file


def test_the_cache_comes_before_the_network(monkeypatch, tmp_path):
    tower = replace(TOWERS["clip"], files=("first.bin", "second.bin"))
    cached = {"second.bin": str(tmp_path / "second.bin")}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda _, name: cached.get(name))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", None)
    assert download(tower) == tmp_path / "second.bin"


def test_weights_of_an_image_come_before_the_cache(monkeypatch, tmp_path):
    file = tmp_path / "biomedclip.safetensors"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(tmp_path / "cached.bin"))
    monkeypatch.setenv("BIDS_MMH_BIOMEDCLIP", str(file))
    assert download(TOWERS["biomedclip"]).name == "cached.bin"  # an image may have been built without
    file.touch()
    assert download(TOWERS["biomedclip"]) == file
    assert download(TOWERS["clip"]).name == "cached.bin"
