"""The hooks of the documentation site: tables made from the code, and links that leave ``docs/``."""

import importlib.util
from pathlib import Path

import pytest

from bids_mmh.cli.parser import build_parser
from bids_mmh.errors import BidsMmhError, ExitCode

ROOT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generated, repository = load("generated"), load("repository")


def test_every_option_is_on_the_page_of_the_command_line():
    text = generated.command(build_parser())
    for action in build_parser()._actions:
        for option in action.option_strings:
            assert action.dest == "help" or f"`{option}`" in text


def test_a_row_has_the_value_the_choices_and_the_default_of_an_option():
    text = generated.command_line()
    assert "| `--participant-label` `LABEL ...` | participants, with or without sub- |" in text
    assert "`{T1w,T2w} ...`" in text
    assert "`[M]`" in text
    assert "(default: 6)" in text
    assert "%(" not in text


def test_every_exit_code_has_a_row_and_every_error_a_code():
    text = generated.exit_codes()
    for code in ExitCode:
        assert f"| `{int(code)}` | {code.meaning} |" in text
    assert {kind.code for kind in BidsMmhError.__subclasses__()} <= set(ExitCode)


def test_every_sidecar_field_has_a_row_and_says_which_files_have_it():
    from bids_mmh.derivatives.sidecar import FIELDS, Sidecar

    rows = [line.split(" | ") for line in generated.sidecar_fields().splitlines()[2:]]
    files = {row[0].strip("| `"): row[1].split() for row in rows}
    assert all(row[2].strip(" |") for row in rows), "a field has no description"
    for name, field in Sidecar.model_fields.items():
        assert len(files[field.alias]) == sum(name in fields for fields in FIELDS.values()) > 0
    assert files["Model.Encoder.SHA256"] == files["Model"]


def test_a_table_that_nobody_makes_is_an_error():
    assert (
        generated.on_page_markdown("text `<!-- generated: no -->` text")
        == "text `<!-- generated: no -->` text"
    )
    with pytest.raises(KeyError):
        generated.on_page_markdown("<!-- generated: no -->")


@pytest.mark.parametrize(
    ("page", "written", "on_the_site"),
    [
        ("index.md", "docs/studies.md", "studies.md"),
        ("index.md", "docs/images/demo.webp", "images/demo.webp"),
        ("index.md", "LICENSE", "REPO/LICENSE"),
        ("index.md", "bids_mmh/resources/embedded/README.md", "model_cards/embedded.md"),
        ("studies.md", "group.md#outliers", "group.md#outliers"),
        ("studies.md", "../bids_mmh/resources/recipes/cpu.toml", "REPO/bids_mmh/resources/recipes/cpu.toml"),
        ("training.md", "../bids_mmh/resources/embedded/README.md", "model_cards/embedded.md"),
        ("training.md", "../README.md", "index.md"),
        ("training.md", "no_such_page.md", "no_such_page.md"),
        ("training.md", "https://example.org/a.md", "https://example.org/a.md"),
    ],
)
def test_links_lead_where_the_site_has_the_file(page, written, on_the_site):
    turned = repository._LINK.sub(lambda link: repository.turned(link, page, "REPO"), f"[a link]({written})")
    assert turned == f"[a link]({on_the_site})"


def test_every_page_outside_of_docs_exists():
    assert all((ROOT / source).is_file() for source in repository.PAGES)
