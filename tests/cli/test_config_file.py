import pytest

from bids_mmh.cli.config_file import build_settings
from bids_mmh.errors import NoInputError, UsageError

POSITIONAL = {"bids_dir": "/raw", "output_dir": "/out", "analysis_level": "participant"}


def settings(tmp_path, text="", **options):
    path = tmp_path / "config.toml"
    path.write_text(text)
    return build_settings({**POSITIONAL, "config_file": path, **options})


def test_command_line_wins_over_file_wins_over_default(tmp_path):
    made = settings(tmp_path, 'nprocs = 3\nrandom_seed = 5\nparticipant-label = ["sub-01"]', nprocs=2)
    assert (made.nprocs, made.random_seed, made.participant_label) == (2, 5, ("01",))
    assert made.template == "MNI152NLin2009cAsym"


def test_a_copy_of_settings_is_a_configuration_file(tmp_path):
    first = settings(tmp_path, "sloppy = true", mem="8g")
    again = settings(tmp_path, first.to_toml(), output_dir="/other")
    assert again == first.model_copy(update={"output_dir": again.output_dir})
    assert str(again.output_dir) == "/other"


def test_session_id_is_an_alias(tmp_path):
    assert settings(tmp_path, 'session-id = "A"').session_label == ("A",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nproc = 1", "'nproc' is not an option of bids-mmh; did you mean 'nprocs'"),
        ("xyzzy = 1", "see --help"),
        ("nprocs = ", "not valid TOML"),
        ('nprocs = "many"', "nprocs: "),
        ('mem = "lots"', "'lots' is not an amount of memory"),
        ("[section]\nnprocs = 1", "'section' is not an option"),
    ],
)
def test_mistakes_in_the_file_name_it(tmp_path, text, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        settings(tmp_path, text)
    assert str(tmp_path / "config.toml") in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"nprocs": 0}, r"^--nprocs: .*, not 0\.$"),
        ({"output_spaces": ["T1w"]}, r"^--output-spaces: .*'MNI' or 'native', not 'T1w'\.$"),
        ({"device": "gpu"}, r"^--device: 'gpu' is not a device"),
        ({"work_dir": "/raw/work"}, r"/raw/work lies inside the dataset"),
    ],
)
def test_mistakes_on_the_command_line_name_the_option(tmp_path, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        settings(tmp_path, "random_seed = 1", **options)


def test_a_missing_file_is_no_input(tmp_path):
    with pytest.raises(NoInputError, match="does not exist"):
        build_settings({**POSITIONAL, "config_file": tmp_path / "none.toml"})
