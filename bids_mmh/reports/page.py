"""The template environment that both pages are rendered with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> Environment:
    """Make the template environment: templates of this package, everything escaped, no name undefined."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("bids_mmh.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["shown"] = shown
    return made


def render(template: str, context: Mapping[str, Any]) -> str:
    """Render a page.

    Args:
        template: File name under ``templates/``.
        context: Values that the template names.

    Returns:
        One HTML document that needs no other file.
    """
    return environment().get_template(template).render(**context)


def shown(value: object) -> str:
    """Write a value for people: ``n/a`` for nothing, four digits for fractions, lists with commas.

    Args:
        value: Anything that JSON can hold.

    Returns:
        Plain text, not yet escaped.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {shown(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(shown(entry) for entry in value) or "none"
    return str(value)
