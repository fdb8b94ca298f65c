import base64

import pytest
from matplotlib.figure import Figure

from bids_mmh.reports.figures.encode import data_uri, encode


@pytest.mark.parametrize(("kind", "magic"), [("webp", b"RIFF"), ("svg", b"<?xml")])
def test_figures_are_encoded_the_same_each_time(kind, magic):
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([0, 1])
    assert encode(figure, kind).startswith(magic)
    assert encode(figure, kind) == encode(figure, kind)


def test_data_uri_holds_the_bytes():
    kind, _, content = data_uri(b"\x00pixels", "webp").partition(",")
    assert kind == "data:image/webp;base64"
    assert base64.b64decode(content) == b"\x00pixels"
