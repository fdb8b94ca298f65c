"""Docstrings on the site: cross-reference roles, which Markdown does not know, become code."""

import re

import griffe

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")


class Roles(griffe.Extension):
    """``:class:`bids_mmh.api.Harmonizer``` is shown as the name alone."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Change the docstring of an object before it is parsed."""
        if obj.docstring:
            obj.docstring.value = _ROLE.sub(r"`\1`", obj.docstring.value)
