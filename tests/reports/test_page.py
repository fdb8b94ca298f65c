import pytest
from jinja2 import UndefinedError

from bids_mmh.reports.page import environment, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (float("nan"), "n/a"),
        (True, "yes"),
        (0.123456, "0.1235"),
        (12, "12"),
        ((), "none"),
        (("a", 0.5), "a, 0.5"),
        ({"k": None}, "k: n/a"),
        ("text", "text"),
    ],
)
def test_values_are_written_for_subjects(value, text):
    assert shown(value) == text


def test_templates_escape_and_name_what_is_missing():
    assert environment().from_string("{{ text }}").render(text="<b>") == "&lt;b&gt;"
    with pytest.raises(UndefinedError, match="missing"):
        environment().from_string("{{ missing }}").render()
