"""Encoding of matplotlib figures as images that are embedded in a page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIME_TYPES = {"svg": "image/svg+xml", "webp": "image/webp"}


def encode(figure: Figure, kind: str) -> bytes:
    """Encode a figure. Its texts are taken as they are: a ``$`` in the name of a site begins no formula.

    Args:
        figure: A matplotlib figure.
        kind: ``webp``, ``png`` or ``svg``.

    Returns:
        The file's bytes.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    target = io.BytesIO()
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    # A fixed salt makes equal figures equal bytes; the default draws identifiers at random.
    with rc_context({"svg.hashsalt": "bids-mmh", "text.parse_math": False}):  # for texts made while drawing
        if kind == "svg":
            figure.savefig(target, format="svg", metadata={"Date": None}, transparent=True)
        elif kind == "png":
            figure.savefig(target, format="png", dpi=150)
        else:
            FigureCanvasAgg(figure)
            figure.savefig(target, format="webp", pil_kwargs={"quality": 82, "method": 3})
    return target.getvalue()


def data_uri(image: bytes, kind: str) -> str:
    """Embed an image in a page.

    Args:
        image: An encoded image.
        kind: Its format: ``svg`` or ``webp``.

    Returns:
        A ``data:`` URI for the ``src`` of an ``img``.

    Examples:
        >>> data_uri(b"<svg/>", "svg")
        'data:image/svg+xml;base64,PHN2Zy8+'
    """
    return f"data:{MIME_TYPES[kind]};base64,{base64.b64encode(image).decode('ascii')}"
