from pathlib import Path

import pytest

import bids_mmh.group.sweep as sweeping
from bids_mmh.cli.sweep import main
from bids_mmh.errors import BadDataError, ExitCode
from bids_mmh.group.sweep import SweepOptions


@pytest.fixture
def asked(monkeypatch):
    """What the sweep was asked for, instead of a sweep."""
    calls = []

    def run(*arguments):
        calls.append(arguments)
        return "the table"

    monkeypatch.setattr(sweeping, "run_sweep", run)
    return calls


def test_options_reach_the_sweep(asked, capsys):
    steps = ["--inversion-steps", "2", "4", "--sampling-steps", "3", "--depths", "8"]
    where = ["--subjects", "01", "--max-scans", "6", "--spacing", "4", "--device", "cpu", "--apply", "new"]
    assert main(["model", "one", "two", "--out", "x/sweep", *steps, *where]) == ExitCode.OK
    model, derivatives, prefix, options = asked[0]
    assert (model, derivatives, prefix) == ("model", [Path("one"), Path("two")], Path("x/sweep"))
    assert options == SweepOptions([8], [2, 4], [3], ["01"], 6, 4.0, "cpu", Path("new"))
    assert capsys.readouterr().out == "the table\n"


def test_the_defaults_are_those_of_the_options(asked):
    main(["embedded", "one", "--out", "sweep"])
    options = asked[0][3]
    assert (tuple(options.depths), tuple(options.inversion_steps), options.max_scans, options.spacing) == (
        SweepOptions().depths,
        SweepOptions().inversion_steps,
        None,
        2.0,
    )


def test_error_is_one_sentence_and_its_code(monkeypatch, capsys):
    def fail(*_):
        raise BadDataError("scan.nii.gz is broken: replace it.")

    monkeypatch.setattr(sweeping, "run_sweep", fail)
    assert main(["embedded", "one", "--out", "sweep"]) == ExitCode.DATA
    assert capsys.readouterr().err == "bids-mmh-sweep: error: scan.nii.gz is broken: replace it.\n"


@pytest.mark.parametrize("wrong", [["--depths", "0"], ["--depths", "1001"], ["--spacing", "0"], ["--wings"]])
def test_wrong_usage(wrong):
    with pytest.raises(SystemExit) as left:
        main(["embedded", "one", "--out", "sweep", *wrong])
    assert left.value.code == ExitCode.USAGE
