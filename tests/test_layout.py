"""The package is laid out as docs/design.md says, in folders of a size that fits a screen."""

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
TREE = DESIGN.split("```")[1].strip().splitlines()
MOST_FILES = 15
TESTS_ABOUT_THE_WHOLE = {"bad_input", "benchmarks", "containers", "docs", "integration"}
READ_BY_PEOPLE = (
    *("*.md", "Makefile", "*.toml", "docs/*.md", "recipes/*.toml", ".github/**/*.yml"),
    *(f"{folder}/**/*.{kind}" for folder in ("bids_mmh", "benchmarks", "tests") for kind in ("md", "py")),
)


def packages(root):
    return [folder for folder in (root, *root.rglob("*")) if (folder / "__init__.py").is_file()]


def read(file):
    return file.read_text(encoding="utf-8")


def drawn(indent):
    """Names at one depth of the tree in docs/design.md."""
    return [match.group(1) for line in TREE if (match := re.match(rf" {{{indent}}}([\w./]+) ", line))]


@pytest.mark.parametrize("root", ["bids_mmh", "benchmarks", "tests"])
def test_no_folder_has_more_files_than_fit_a_screen(root):
    files = Counter(str(file.parent.relative_to(ROOT)) for file in (ROOT / root).rglob("*.py"))
    assert {folder: count for folder, count in files.items() if count > MOST_FILES} == {}


def test_benchmarks_that_are_named_are_there():
    """Wherever a reader is told to run or to look at one."""
    files = {file for pattern in READ_BY_PEOPLE for file in ROOT.glob(pattern)}
    pattern = re.compile(r"(?<![\w/])benchmarks(?:/\w+)+\.py\b")
    named = {(name, file) for file in files for name in pattern.findall(read(file))}
    assert len(named) > 50
    assert [f"{file}: {name}" for name, file in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_benchmark_with_a_command_is_in_the_table():
    folder = ROOT / "benchmarks"
    table = read(folder / "README.md")
    elsewhere = set(folder.glob("gpu/*.py"))  # one command, whose page says what its stages do
    scripts = [file for file in folder.rglob("*.py") if '__name__ == "__main__"' in read(file)]
    paths = [str(file.relative_to(ROOT)) for file in scripts if file not in elsewhere]
    assert len(paths) > 20
    assert [path for path in sorted(paths) if f"`python {path}" not in table] == []


@pytest.mark.parametrize("folder", sorted((ROOT / "benchmarks").glob("*/")), ids=lambda folder: folder.name)
def test_a_benchmark_imports_no_module_of_another_folder(folder):
    """A script that is run has its own folder on the path, and no other."""
    own = {file.stem for file in folder.glob("*.py")}
    others = {file.stem for file in (ROOT / "benchmarks").rglob("*.py")} - own - sys.stdlib_module_names
    code = "\n".join(read(file) for file in folder.glob("*.py"))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", code, re.M))
    assert sorted(imported & others) == []


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
