"""Every command line of the documentation is one that the program takes."""

import re
import shlex
from pathlib import Path

import pytest

from bids_mmh.cli import parser, phantom, sweep, train, train_brain_mask, train_encoder

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PARSERS = {
    module.build_parser().prog: module.build_parser
    for module in (phantom, sweep, train, train_brain_mask, train_encoder)
}
READERS = {"bids-mmh": parser.parse_arguments} | {
    prog: lambda argv, build=build: build().parse_args(argv) for prog, build in PARSERS.items()
}


def commands():
    """Arguments of each line of a code block that starts with one of the commands, and where it stands."""
    for page in PAGES:
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            if block.startswith("$ "):
                continue  # what follows a prompt is the output of a command
            for line in block.splitlines():
                if line.split(" ", 1)[0] in READERS:
                    yield pytest.param(shlex.split(line, comments=True), id=f"{page.name}: {line}")


@pytest.mark.parametrize("argv", list(commands()))
def test_a_command_of_the_documentation_is_understood(argv):
    optional = [re.sub(r"^\[|\]$", "", word) for word in argv[1:]]  # [MORE_OUT ...]
    if "--version" in optional:
        with pytest.raises(SystemExit):
            READERS[argv[0]](optional)
    else:
        READERS[argv[0]](optional)


def test_there_are_commands_to_look_at():
    assert len(list(commands())) > 15
