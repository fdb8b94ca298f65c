import json

import pytest

from bids_mmh.bids.filters import load_filters, matches
from bids_mmh.errors import NoInputError, UsageError


def write(tmp_path, content):
    path = tmp_path / "filters.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_sequences_are_named_in_any_case(tmp_path):
    path = write(tmp_path, {"t1w": {"acquisition": "mprage", "suffix": "T1w"}})
    assert load_filters(path, ("T1w", "T2w")) == {"T1w": {"acquisition": "mprage", "suffix": "T1w"}}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"t1w": ', "not valid JSON"),
        ("[1]", "must hold an object"),
        ({"bold": {}}, "'bold' is not among the sequences of this run"),
        ({"t1w": {"acquisitoin": "x"}}, "did you mean 'acquisition'"),
        ({"t1w": "mprage"}, "must hold an object"),
    ],
)
def test_mistakes_are_named(tmp_path, content, sentence):
    path = write(tmp_path, content)
    with pytest.raises(UsageError, match=sentence) as caught:
        load_filters(path, ("T1w", "T2w"))
    assert str(path) in str(caught.value)


def test_a_missing_file_is_no_input(tmp_path):
    with pytest.raises(NoInputError, match="does not exist"):
        load_filters(tmp_path / "none.json", ("T1w",))


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        ({}, True),
        ({"run": 2}, True),
        ({"run": "02"}, True),
        ({"run": 1}, False),
        ({"acquisition": ["a", "b"]}, True),
        ({"acquisition": ["b"]}, False),
        ({"acquisition": None}, False),
        ({"ceagent": None}, True),
        ({"acquisition": "*"}, True),
        ({"ceagent": "*"}, False),
        ({"acquisition": "a", "ceagent": "gad"}, False),
    ],
)
def test_values_match_labels_lists_absence_and_presence(wanted, passes):
    assert matches({"subject": "01", "acquisition": "a", "run": "02"}, wanted) is passes
