import re

import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines import builtin
from bids_mmh.preprocess.engines.builtin import any_brain, t1w_brain
from bids_mmh.preprocess.engines.choice import brain_extractor
from bids_mmh.preprocess.images import to_array, to_sitk

NONE = BadDataError("Nothing there.")


def box(side):
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[:side] = 1
    return to_sitk(mask, np.eye(4))


@pytest.fixture
def programs(monkeypatch):
    """What the two programs answer, and which were asked."""
    answers, asked = {}, []

    def program(name):
        def answer(*_):
            asked.append(name)
            if isinstance(answers[name], Exception):
                raise answers[name]
            return answers[name]

        return answer

    for name in ("network_mask", "deepbet_mask"):
        monkeypatch.setattr(builtin, name, program(name))
    return answers, asked


def check(found, side, program, said):
    assert to_array(found.mask).sum() == 100 * side
    assert found.program == program
    if said is None:
        assert not found.warnings
    else:
        assert len(found.warnings) == 1
        assert re.search(said, found.warnings[0])


def test_a_network_that_is_sure_is_believed(programs, tmp_path):
    answers, asked = programs
    answers |= {"network_mask": (box(5), 0.99), "deepbet_mask": box(2)}
    check(any_brain(box(9), tmp_path), 5, "brain mask network", None)
    assert asked == ["network_mask"]


@pytest.mark.parametrize(
    ("second", "said"),
    [(box(5), None), (box(2), "Dice of 0.90.*deepbet's mask one of 0.57"), (NONE, "deepbet finds no brain")],
)
def test_a_network_in_doubt_is_flagged_unless_deepbet_agrees(programs, tmp_path, second, said):
    answers, asked = programs
    answers |= {"network_mask": (box(5), 0.9), "deepbet_mask": second}
    check(any_brain(box(9), tmp_path), 5, "brain mask network", said)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("network", "deepbet", "side", "program", "said"),
    [
        ((box(5), 0.9), box(5), 5, "deepbet", None),
        ((box(5), 0.9), box(2), 5, "brain mask network", "different brains .Dice 0.57"),
        (
            (box(5), 0.9),
            NONE,
            5,
            "brain mask network",
            "there. The mask is that of brain mask network",
        ),
        (NONE, box(2), 2, "deepbet", "^Nothing there. The mask is that of deepbet"),
    ],
)
def test_a_t1w_is_deepbets_as_long_as_the_network_agrees(
    programs, tmp_path, network, deepbet, side, program, said
):
    answers, _ = programs
    answers |= {"network_mask": network, "deepbet_mask": deepbet}
    check(t1w_brain(box(9), tmp_path), side, program, said)


def test_deepbet_serves_where_the_network_finds_nothing_and_it_is_said(programs, tmp_path):
    answers, _ = programs
    answers |= {"network_mask": NONE, "deepbet_mask": box(2)}
    check(any_brain(box(9), tmp_path), 2, "deepbet", "^Nothing there. The mask is that of deepbet")
    answers["deepbet_mask"] = BadDataError("nor here.")
    for find in (any_brain, t1w_brain):
        with pytest.raises(BadDataError, match=r"Nothing there|nor here"):
            find(box(9), tmp_path)


def test_the_sequence_decides_which_program_is_the_first():
    assert brain_extractor("builtin", sequence="T1w").extract is t1w_brain
    assert brain_extractor("builtin", sequence="T2w").extract is any_brain
    assert brain_extractor("builtin").extract is any_brain
    assert brain_extractor("network", sequence="T1w").extract is any_brain
