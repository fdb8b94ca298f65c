import re

import numpy as np
import pytest

from bids_mmh.errors import BadDataError
from bids_mmh.preprocess.engines import builtin
from bids_mmh.preprocess.images import to_array, to_sitk


def _box(side):
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


def test_a_network_that_is_sure_is_believed(programs, tmp_path):
    answers, asked = programs
    answers |= {"network_mask": (_box(5), 0.99), "deepbet_mask": _box(2)}
    found = builtin.builtin_brain(_box(9), tmp_path)
    assert (to_array(found.mask).sum(), found.warnings, asked) == (500, (), ["network_mask"])


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (_box(5), None),
        (_box(2), "Dice of 0.90.*deepbet's mask one of 0.57"),
        (BadDataError("no."), "no brain"),
    ],
)
def test_a_network_in_doubt_is_flagged_unless_deepbet_agrees(programs, tmp_path, second, said):
    answers, asked = programs
    answers |= {"network_mask": (_box(5), 0.9), "deepbet_mask": second}
    found = builtin.builtin_brain(_box(9), tmp_path)
    assert len(asked) == 2
    assert to_array(found.mask).sum() == 500
    if said is None:
        assert not found.warnings
    else:
        assert len(found.warnings) == 1
        assert re.search(said, found.warnings[0])


def test_deepbet_serves_where_the_network_finds_nothing_and_it_is_said(programs, tmp_path):
    answers, _ = programs
    answers |= {"network_mask": BadDataError("Too small."), "deepbet_mask": _box(2)}
    found = builtin.builtin_brain(_box(9), tmp_path)
    assert to_array(found.mask).sum() == 200
    assert found.warnings[0].startswith("Too small.")
    answers["deepbet_mask"] = BadDataError("nothing.")
    with pytest.raises(BadDataError, match="Too small"):
        builtin.builtin_brain(_box(9), tmp_path)
