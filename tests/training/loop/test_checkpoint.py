import logging

import pytest
import torch

from bids_mmh.errors import BadDataError
from bids_mmh.training.loop.checkpoint import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


def test_read_as_written(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"w": torch.ones(2), "step": 3, "best": None}, "this")
    state = load_checkpoint(tmp_path / "c.pt", "this", CPU)
    assert (state["step"], state["best"]) == (3, None)
    assert torch.equal(state["w"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]


def test_none_yet(tmp_path):
    assert load_checkpoint(tmp_path / "c.pt", "this", CPU) is None


def test_of_another_run(tmp_path, caplog):
    save_checkpoint(tmp_path / "c.pt", {}, "that")
    with caplog.at_level(logging.WARNING, logger="bids_mmh.training"):
        assert load_checkpoint(tmp_path / "c.pt", "this", CPU) is None
    assert "training starts anew" in caplog.text


def test_a_failed_write_leaves_the_old_one(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"step": 1}, "this")
    with pytest.raises(AttributeError):
        save_checkpoint(tmp_path / "c.pt", {"step": lambda: None}, "this")  # cannot be pickled
    assert load_checkpoint(tmp_path / "c.pt", "this", CPU)["step"] == 1


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_damaged(tmp_path, content):
    file = tmp_path / "c.pt"
    save_checkpoint(file, {"w": torch.ones(1000)}, "this")
    file.write_bytes(file.read_bytes()[:-500] if content is None else content)
    with pytest.raises(BadDataError, match=r"c\.pt is damaged or no checkpoint: delete it to start anew"):
        load_checkpoint(file, "this", CPU)


class Harmful:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


def test_no_code_in_a_checkpoint_is_run(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"w": Harmful()}, "this")
    with pytest.raises(BadDataError, match="damaged"):
        load_checkpoint(tmp_path / "c.pt", "this", CPU)
