"""Files of others are data: nothing in them is run, and none of them leads to another folder."""

import ast
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_mmh.errors import BidsMmhError
from bids_mmh.method.config import PRESETS
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.model_files import STYLES_FILE, SUMS_FILE

PACKAGE = Path(__file__).parents[2] / "bids_mmh"


class _Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    Harmonizer(PRESETS["tiny"]).save_pretrained(folder)
    return folder


def load_model(file: Path) -> None:
    Harmonizer.from_pretrained(file.parent)


def load_encoder(file: Path) -> None:
    from bids_mmh.method.encoder.files import read_weights

    read_weights(file)


def load_checkpoint(file: Path) -> None:
    from bids_mmh.training.loop.checkpoint import load_checkpoint

    load_checkpoint(file, "fingerprint", torch.device("cpu"))


def load_scan(file: Path) -> None:
    from bids_mmh.preprocess.steps.load import load_scan

    load_scan(file)


READERS = {
    "model.safetensors": load_model,
    "config.json": load_model,
    STYLES_FILE: load_model,
    "encoder.bin": load_encoder,
    "encoder.pt": load_encoder,
    "encoder.safetensors": load_encoder,
    "checkpoint.pt": load_checkpoint,
    "sub-01_T1w.nii": load_scan,
    "sub-01_T1w.nii.gz": load_scan,
}


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "by torch"])
@pytest.mark.parametrize(("name", "read"), READERS.items(), ids=READERS)
def test_a_planted_pickle_is_refused_and_not_run(model, tmp_path, name, read, wrapped):
    file, made = model / name, tmp_path / "made"
    if wrapped:
        torch.save({"state_dict": _Planted(made)}, file)
    else:
        file.write_bytes(pickle.dumps(_Planted(made)))
    with pytest.raises(BidsMmhError) as caught:
        read(file)
    assert str(file if read is not load_model else file.parent) in str(caught.value)
    assert not made.exists()


def test_the_pickle_of_this_test_would_run(tmp_path):
    pickle.loads(pickle.dumps(_Planted(tmp_path / "made")))
    assert (tmp_path / "made").exists()


def test_arrays_in_a_cache_are_no_pickles(tmp_path):
    np.save(tmp_path / "x.npy", np.array([_Planted(tmp_path / "made")], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        np.load(tmp_path / "x.npy")
    assert not (tmp_path / "made").exists()


def calls(name: str):
    """Every call of a function of this name in the package, with its keywords."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name:
                yield file, ast.unparse(node)


def test_the_package_has_no_call_that_unpickles():
    loads = [
        (file, call) for file, call in calls("load") if call.startswith(("torch.load", "pickle", "joblib"))
    ]
    assert loads
    assert all("weights_only=True" in call for _, call in loads)
    for name in ("loads", "Unpickler", "read_pickle", "load"):
        assert not [
            call for _, call in calls(name) if call.startswith(("pickle", "dill", "cloudpickle", "pd."))
        ]
    assert not [call for _, call in calls("load") if "allow_pickle=True" in call]
    assert not [*calls("eval"), *calls("exec")] or all(".eval(" in call for _, call in calls("eval"))


@pytest.mark.parametrize("name", ["model.safetensors"])
@pytest.mark.parametrize("place", [0.2, 0.5, 0.99])
def test_weights_with_one_other_bit_are_refused(model, name, place):
    content = bytearray((model / name).read_bytes())
    content[int(place * len(content))] ^= 1
    (model / name).write_bytes(content)
    with pytest.raises(BidsMmhError, match=f"{name} is not the file that {SUMS_FILE}") as caught:
        Harmonizer.from_pretrained(model)
    assert str(caught.value).endswith("copy the model folder again.")


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_truncated_model_folders_are_refused(model, name, kept):
    content = (model / name).read_bytes()
    (model / name).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(BidsMmhError) as caught:
        Harmonizer.from_pretrained(model)
    assert str(model) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"bins": 10**9},
        {"shape": [10**6, 1, 1]},
        {"sampling_steps": 0},
        {"spacing": 0},
        {"sequences": []},
        {"network": {"channels": [10**9, 16]}},
        {"network": {"groups": 0}},
        {"network": {"res_blocks": 10**9}},
    ],
    ids=str,
)
def test_configurations_that_would_fill_the_memory_are_refused(model, change):
    config = json.loads((model / "config.json").read_text())
    for key, value in change.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(BidsMmhError, match=r"config\.json is not a configuration"):
        Harmonizer.from_pretrained(model)


def test_the_embedded_model_has_checksums_that_fit():
    from bids_mmh.method.model_files import check_sums, embedded_folder

    assert (embedded_folder() / SUMS_FILE).is_file()
    check_sums(embedded_folder())
