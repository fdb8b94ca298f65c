"""Tables of the reference that are made from the code while the site is built.

A page asks for one by a line ``<!-- generated: NAME -->``.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the tables where the page asks for them.

    Raises:
        KeyError: The page asks for a table that does not exist.
    """
    return _MARK.sub(lambda mark: GENERATORS[mark[1]](), markdown)


def command_line() -> str:
    """Every command with its options, from the parsers themselves."""
    from bids_mmh.cli import parser, phantom, sweep, train, train_brain_mask, train_encoder

    modules = (parser, phantom, train, sweep, train_encoder, train_brain_mask)
    return "\n\n".join(command(module.build_parser()) for module in modules)


def command(parser: argparse.ArgumentParser) -> str:
    """A section of Markdown: purpose, usage, a table for each group of options, notes."""
    parts = [f"## {parser.prog}", parser.description or "", f"```text\n{parser.format_usage().strip()}\n```"]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest != "help"]
        if actions:
            kind = "Option" if actions[0].option_strings else "Argument"
            rows = [_option(parser, action) for action in actions]
            parts += [f"### {_title(group.title)} {{: #{_slug(parser.prog, group.title)} }}"]
            parts += [_table(rows, (kind, "Meaning"))]
    if parser.epilog:
        parts.append(f"```text\n{parser.epilog.strip()}\n```")
    return "\n\n".join(parts)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, str]:
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
    values = _values(action) if action.option_strings else ""
    meaning = (action.help or "") % {**vars(action), "prog": parser.prog}
    return f"{names} {values}".strip(), meaning


def _values(action: argparse.Action) -> str:
    """What follows an option: ``LABEL ...``, ``[M]``, or nothing after a switch."""
    if action.nargs == 0:
        return ""
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    name = str(action.metavar or choices)
    written = {"+": f"{name} ...", "?": f"[{name}]"}.get(str(action.nargs), name)
    return f"`{written}`"


def _title(title: str | None) -> str:
    title = {"positional arguments": "Arguments", "options": "Options"}.get(title or "", title or "")
    return title[:1].upper() + title[1:]


def _slug(*words: str | None) -> str:
    return re.sub(r"[^a-z0-9]+", "-", " ".join(word or "" for word in words).lower()).strip("-")


def _table(rows: Iterable[Sequence[str]], head: Sequence[str]) -> str:
    lines = (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])


def exit_codes() -> str:
    """A table of the exit codes and their meaning."""
    from bids_mmh.errors import ExitCode

    return _table(((f"`{int(code)}`", code.meaning) for code in ExitCode), ("Code", "Meaning"))


_LETTERS = {
    "mni_preproc": "P",
    "native_preproc": "p",
    "mni_harmonized": "H",
    "native_harmonized": "h",
    "mni_change": "C",
    "mni_mask": "M",
    "native_mask": "m",
}


def sidecar_fields() -> str:
    """A table of the fields of sidecars: name, which files have it, meaning with unit."""
    from bids_mmh.derivatives.sidecar import FIELDS, Sidecar

    rows = []
    for name, field in Sidecar.model_fields.items():
        letters = " ".join(_LETTERS[kind] for kind, fields in FIELDS.items() if name in fields)
        rows.append((f"`{field.alias}`", letters, field.description or ""))
        rows += [(f"`{key}`", letters, text) for key, text in _nested(field.annotation, str(field.alias))]
    return _table(rows, ("Field", "Files", "Meaning"))


def _nested(annotation: object, prefix: str) -> Iterator[tuple[str, str]]:
    """Fields of the record that a field holds, if it holds one: ``Model.Name`` and its meaning."""
    for kind in (annotation, *get_args(annotation)):
        fields: Mapping[str, FieldInfo] = getattr(kind, "model_fields", {})
        for name, field in fields.items():
            key = f"{prefix}.{field.alias or name}"
            yield key, field.description or ""
            yield from _nested(field.annotation, key)


GENERATORS: Mapping[str, Callable[[], str]] = {
    "command_line": command_line,
    "exit_codes": exit_codes,
    "sidecar_fields": sidecar_fields,
}
