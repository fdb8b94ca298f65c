"""The template environment of both pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


@cache  # templates are compiled once in a process
def environment() -> Environment:
    """Make the template environment.

    Returns:
        An environment of the templates of this package that escapes all values and rejects undefined names.
    """
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
    """Format a value for display: ``n/a`` for None, four significant digits, lists with commas.

    Args:
        value: Anything that JSON can hold.

    Returns:
        Plain text, not yet escaped.

    Examples:
        >>> shown(0.123456), shown(None), shown(True)
        ('0.1235', 'n/a', 'yes')
        >>> shown({"levels": [3, 2]})
        'levels: 3, 2'
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
