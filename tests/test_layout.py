"""The package is laid out as docs/design.md says, in packages of a size that fits a screen."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
TREE = DESIGN.split("```")[1].strip().splitlines()
MOST_FILES = 15
TESTS_ABOUT_THE_WHOLE = {"bad_input", "benchmarks", "containers", "docs", "integration"}


def packages(root):
    return [folder for folder in (root, *root.rglob("*")) if (folder / "__init__.py").is_file()]


def drawn(indent):
    """Names at one depth of the tree in docs/design.md."""
    return [match.group(1) for line in TREE if (match := re.match(rf" {{{indent}}}([\w./]+) ", line))]


def test_no_package_has_more_files_than_fit_a_screen():
    crowded = {
        str(folder.relative_to(ROOT)): len(list(folder.glob("*.py")))
        for folder in packages(ROOT / "bids_mmh")
        if len(list(folder.glob("*.py"))) > MOST_FILES
    }
    assert crowded == {}


def test_the_tree_shows_every_package_and_module_of_the_first_level():
    package = ROOT / "bids_mmh"
    there = {f"{folder.name}/" for folder in packages(package) if folder.parent == package}
    there |= {file.name for file in package.glob("*.py") if not file.name.startswith("_")}
    assert sorted(drawn(2)) == sorted(there)


@pytest.mark.parametrize("line", [line for line in TREE if re.match(r"  \w+/ ", line)])
def test_what_a_line_of_the_tree_names_is_there(line):
    """Names that end in a slash are packages below, those that end in .py are modules."""
    name, rest = line.split(maxsplit=1)
    below = re.findall(r"\b(\w+/|\w+\.py)(?!\w)", rest)
    assert [one for one in below if not (ROOT / "bids_mmh" / name / one).exists()] == []


@pytest.mark.parametrize("page", ["docs/design.md", "docs/method.md", "CONTRIBUTING.md"])
def test_modules_that_a_page_names_are_there(page):
    """Paths such as `training/recipe.py`, from the root, from the package or from its method package."""
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = set(re.findall(r"[`(]((?:\w+/)+\w+\.py)[`)]", text))
    places = (ROOT, ROOT / "bids_mmh", ROOT / "bids_mmh" / "method", ROOT / "bids_mmh" / "training")
    assert sorted(path for path in paths if not any((place / path).is_file() for place in places)) == []


def test_tests_mirror_the_packages():
    folders = {
        folder.relative_to(ROOT / "tests")
        for folder in (ROOT / "tests").rglob("*")
        if folder.is_dir() and any(folder.glob("test_*.py"))
    }
    strange = [
        str(folder)
        for folder in folders
        if folder.parts[0] not in TESTS_ABOUT_THE_WHOLE and not (ROOT / "bids_mmh" / folder).is_dir()
    ]
    assert sorted(strange) == []
