"""Bad input: how the program is run on it, and what it said."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from bids_mmh.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """Exit code, the sentences of errors, and everything that went to the standard error stream."""

    code: int
    errors: list[str]
    text: str


@pytest.fixture(scope="session")
def work(tmp_path_factory) -> Path:
    """One work folder for all: the template is prepared once."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def run(work, capfd):
    """Run the participant level on a dataset: coarse, without a model, in one process."""

    def run(bids_dir: Path, out: Path, *options: str, validate: bool = False) -> Outcome:
        arguments = [str(bids_dir), str(out), "participant", "--preproc-only", "--sloppy", "--nprocs", "1"]
        if "-w" not in options:
            arguments += ["-w", str(work)]
        if not validate:
            arguments.append("--skip-bids-validation")
        code = main([*arguments, "--template", "MNI152NLin2009aSym", *options])
        text = capfd.readouterr().err
        assert "Traceback" not in text
        assert "report it" not in text
        errors = [line for line in text.splitlines() if re.match("ERROR|bids-mmh: error", line)]
        return Outcome(code, errors, text)

    return run
