import pytest

from bids_mmh.cli.parser import build_parser, parse_arguments
from bids_mmh.settings import Settings

ARGUMENTS = ["raw", "out", "participant"]


def test_only_what_was_given_is_there():
    assert set(parse_arguments(ARGUMENTS)) == {"bids_dir", "output_dir", "analysis_level"}


@pytest.mark.parametrize(
    "spelling",
    [
        ["--participant-label", "01", "02"],
        ["--participant_label", "01", "02"],
    ],
)
def test_dash_or_underscore(spelling):
    assert parse_arguments([*ARGUMENTS, *spelling])["participant_label"] == ["01", "02"]


def test_underscores_in_values_stay():
    arguments = parse_arguments([*ARGUMENTS, "--site_from=participants:site_id", "--model", "my_model"])
    assert (arguments["site_from"], arguments["model"]) == ("participants:site_id", "my_model")


def test_session_id_is_an_alias():
    assert parse_arguments([*ARGUMENTS, "--session_id", "A"])["session_label"] == ["A"]


def test_verbosity_counts():
    assert parse_arguments([*ARGUMENTS, "-vv", "-v"])["verbose"] == 3


def test_every_option_is_a_setting_and_every_setting_an_option():
    actions = {action.dest for action in build_parser()._actions}
    assert actions - {"help", "version", "config_file"} == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["raw", "out"], 64),
        ([*ARGUMENTS, "--no-such-option"], 64),
        ([*ARGUMENTS, "--slop"], 64),
        ([*ARGUMENTS, "--nprocs", "many"], 64),
        (["raw", "out", "session"], 17),
        (["--version"], 0),
        (["--help"], 0),
    ],
)
def test_exit_codes(argv, code, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_arguments(argv)
    assert caught.value.code == code
    captured = capsys.readouterr()
    assert (captured.out if code == 0 else captured.err).strip()


def test_help_says_what_a_bare_number_of_memory_is():
    assert "bare number is GB" in " ".join(build_parser().format_help().split())
