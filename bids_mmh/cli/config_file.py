"""Options from a TOML file, and their precedence: command line, then file, then defaults."""

import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_mmh.errors import NoInputError, UsageError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from bids_mmh.settings import Settings

_ALIASES = {"session_id": "session_label"}


def build_settings(arguments: Mapping[str, Any]) -> "Settings":
    """Merge the command line with the configuration file it names, and validate every value.

    Args:
        arguments: From :func:`bids_mmh.cli.parser.parse_arguments`.

    Returns:
        The settings of the run.

    Raises:
        NoInputError: If the configuration file does not exist.
        UsageError: If it is not TOML or has an unknown key, or a value is wrong, in it or on the command
            line.
    """
    from pydantic import ValidationError

    from bids_mmh.settings import Settings

    on_command_line = {key: value for key, value in arguments.items() if key != "config_file"}
    config_file = arguments.get("config_file")
    in_file = read_config(config_file, Settings.model_fields) if config_file else {}
    try:
        return Settings.model_validate({**in_file, **on_command_line})
    except ValidationError as error:
        raise UsageError(_sentence(error.errors()[0], on_command_line, config_file)) from None


def read_config(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Read a configuration file.

    Args:
        path: TOML file; its keys are long options, with dashes or underscores, without the leading dashes.
        known: Names of the options that exist, with underscores.

    Returns:
        Values by the names of the options, with underscores.

    Raises:
        NoInputError: If there is no such file.
        UsageError: If it is not TOML, or a key is unknown; the sentence then names the nearest one.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoInputError(f"The configuration file {path} does not exist: check --config-file.") from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid TOML ({error}): correct the configuration file.") from None
    named = {key.replace("-", "_"): value for key, value in content.items()}
    options = {_ALIASES.get(key, key): value for key, value in named.items()}
    for key in options:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "see --help for the options there are."
            raise UsageError(f"{path}: '{key}' is not an option of bids-mmh; {hint}")
    return options


def _sentence(problem: "ErrorDetails", on_command_line: Mapping[str, Any], config_file: Path | None) -> str:
    """Turn the first validation error into a sentence that names the option and where it was set."""
    text = problem["msg"].removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    if not problem["loc"]:
        return f"{text[0].upper()}{text[1:]} with --work-dir."
    key = str(problem["loc"][0])
    if key in on_command_line or config_file is None:
        where = key if key in {"bids_dir", "output_dir"} else f"--{key.replace('_', '-')}"
    else:
        where = f"{config_file}: {key}"
    value = "" if "'" in text and problem["type"] == "value_error" else f", not {problem['input']!r}"
    return f"{where}: {text}{value}."
