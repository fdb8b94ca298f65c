"""What comes back from a run: one JSON file and the same as Markdown tables, both whole after every row."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Cell = str | float | int | bool | None


class Report:
    """Sections of results in a folder, each a table with a status and notes.

    Stages run in processes of their own: each reads what the ones before it wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "results.json"
        self.sections: dict[str, dict[str, Any]] = {}
        if self.file.is_file():
            self.sections = json.loads(self.file.read_text(encoding="utf-8"))

    def start(self, name: str, columns: Sequence[str], *, keep: bool = False) -> None:
        """Begin a section anew, or go on below the rows that it has where they are to be kept."""
        if keep and name in self.sections:
            self.finish(name, "not finished")
            return
        self.sections[name] = {"status": "not finished", "columns": list(columns), "rows": [], "notes": []}
        self.save()

    def row(self, name: str, *cells: Cell) -> None:
        """Add a row."""
        self.sections[name]["rows"].append(list(cells))
        self.save()

    def note(self, name: str, text: str) -> None:
        """Add a sentence below the table."""
        self.sections[name]["notes"].append(text)
        self.save()

    def finish(self, name: str, status: str = "done", **values: Cell) -> None:
        """Say how a section ended, and keep values for the stages after it."""
        section = self.sections.setdefault(name, {"columns": [], "rows": [], "notes": []})
        section.update(values, status=status)
        self.save()

    def value(self, name: str, key: str) -> Any:  # noqa: ANN401
        """What a section kept; None if it did not."""
        return self.sections.get(name, {}).get(key)

    def save(self) -> None:
        """Write both files, each in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _replace(self.file, json.dumps(self.sections, indent=1) + "\n")
        tables = [_markdown(name, section) for name, section in self.sections.items()]
        _replace(self.folder / "results.md", "\n".join(tables))


def _markdown(name: str, section: dict[str, Any]) -> str:
    lines = [f"## {name}", "", f"Status: {section['status']}.", ""]
    if section["columns"]:
        lines += [_line(section["columns"]), _line(["---"] * len(section["columns"]))]
        lines += [_line([_text(cell) for cell in row]) for row in section["rows"]]
        lines.append("")
    lines += [f"- {note}" for note in section["notes"]]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:.4g}" if isinstance(cell, float) else str("" if cell is None else cell)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
