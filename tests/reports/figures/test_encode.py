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


@pytest.mark.parametrize(
    "name", [r"A$\foo$", "$", r"$\frac{1}$", "<script>alert(1)</script>", "--><x>", "🏥"]
)
def test_names_of_sites_are_no_formulas_and_no_markup(name):
    figure = Figure(figsize=(3, 3))
    axes = figure.add_subplot()
    axes.plot([0, 1], label=name)
    axes.set(title=name, xlabel=name, xticks=[0, 1], xticklabels=[name, name])
    axes.legend()
    image = encode(figure, "svg")
    assert b"<script" not in image
    assert b"--><x>" not in image
    assert encode(figure, "png")


def test_data_uri_holds_the_bytes():
    kind, _, content = data_uri(b"\x00pixels", "webp").partition(",")
    assert kind == "data:image/webp;base64"
    assert base64.b64decode(content) == b"\x00pixels"
