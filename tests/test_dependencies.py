"""What is imported is declared in pyproject.toml, and what is declared is imported."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOT_IMPORTED = {
    "bids-validator-deno",  # a program
    "tensorboard",  # by torch.utils.tensorboard
    "torchvision",  # by open_clip; it has to fit the build of torch
}
PARTS_OF = {"pydantic-core": "pydantic"}  # they come together and are pinned by each other
SCRIPT = re.compile(r"^(?:from|import) (\w+)", re.MULTILINE)


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements):
    return {normalized(re.match(r"[\w.-]+", one).group()) for one in requirements}


def imported_names(source):
    """Top-level names that a file imports, those of scripts in its strings too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\nfrom " in node.value:
            yield from SCRIPT.findall(node.value)


def imported(folder):
    """Distributions that the files of a folder import; what no distribution holds is the project's own."""
    owners = packages_distributions()
    names = {
        name
        for file in (ROOT / folder).rglob("*.py")
        for name in imported_names(file.read_text(encoding="utf-8"))
    }
    found = [normalized(owners[name][0]) for name in names - sys.stdlib_module_names if name in owners]
    return {PARTS_OF.get(name, name) for name in found} - {"bids-mmh"}


PACKAGE = declared(PROJECT["project"]["dependencies"])
EXTRAS = declared(one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra)
DEV = declared(PROJECT["dependency-groups"]["dev"])


def test_what_the_package_imports_is_declared():
    assert imported("bids_mmh") - PACKAGE - EXTRAS == set()


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "docs", "container"])
def test_what_development_imports_is_declared(folder):
    assert imported(folder) - PACKAGE - EXTRAS - DEV == set()


def test_what_is_declared_is_imported():
    assert PACKAGE - imported("bids_mmh") == NOT_IMPORTED


def test_scripts_in_strings_count():
    assert set(imported_names('RUN = """\nimport sys\nfrom deepbet import X\n"""')) == {"sys", "deepbet"}
