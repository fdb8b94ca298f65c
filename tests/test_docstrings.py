"""Public functions say in Google style what they take and what they return."""

import ast
from pathlib import Path

import pytest

import bids_mmh

PACKAGE = Path(bids_mmh.__file__).parent
# Packages join this list when all of their docstrings have the style.
STYLED = (
    "errors.py",
    "files.py",
    "cli",
    "evaluation/metrics",
    "evaluation/probes",
    "phantom",
    "preprocess",
    "reports",
)


def public_functions(body, prefix=""):
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not is_property(node):
            yield prefix + node.name, node


def is_property(function):
    return any(ast.unparse(one) in ("property", "cached_property") for one in function.decorator_list)


def missing(function):
    """Give the parameters and sections that a docstring lacks."""
    text = ast.get_docstring(function) or ""
    signature = function.args
    named = [*signature.posonlyargs, *signature.args, *signature.kwonlyargs]
    starred = [one for one in (signature.vararg, signature.kwarg) if one is not None]
    parameters = [one.arg for one in (*named, *starred) if one.arg not in ("self", "cls")]
    lacking = [name for name in parameters if not name.startswith("_") and f"\n    {name}: " not in text]
    returned = ast.unparse(function.returns) if function.returns else "None"
    if returned not in ("None", "NoReturn") and "Returns:\n" not in text and "Yields:\n" not in text:
        lacking.append("Returns")
    return lacking


@pytest.mark.parametrize("part", STYLED)
def test_public_functions_say_what_they_take_and_return(part):
    root = PACKAGE / part
    assert root.exists()
    found = {
        f"{path.relative_to(PACKAGE)}: {name}": missing(function)
        for path in ([root] if root.is_file() else sorted(root.rglob("*.py")))
        for name, function in public_functions(ast.parse(path.read_text(encoding="utf-8")).body)
    }
    assert {place: lacking for place, lacking in found.items() if lacking} == {}
