"""The files that ``.bidsignore`` takes out of a dataset; its patterns are those of ``.gitignore``."""

import re
from collections.abc import Callable
from pathlib import Path

from bids_mmh.bids.tables import read_text

_Rule = tuple[re.Pattern[str], bool]


def ignored_in(bids_dir: Path) -> Callable[[Path], bool]:
    """Give the function that says whether a dataset's ``.bidsignore`` lists a file, or a folder it lies in.

    Args:
        bids_dir: Root of the dataset; without a ``.bidsignore`` nothing is ignored.

    Returns:
        Function of an absolute path below ``bids_dir``.

    Raises:
        BadDataError: When the file is not UTF-8 text.
    """
    file = bids_dir / ".bidsignore"
    lines = read_text(file).split("\n") if file.is_file() else []
    rules = [rule for line in lines if (rule := _rule(line))]

    def ignored(path: Path) -> bool:
        parts = path.relative_to(bids_dir).parts
        folders = ["/".join(parts[:depth]) + "/" for depth in range(1, len(parts))]
        return any(_listed(name, rules) for name in [*folders, "/".join(parts)])

    return ignored


def _listed(name: str, rules: list[_Rule]) -> bool:
    """Whether the last rule that fits a name ignores it; names of folders end in a slash."""
    return next((ignores for pattern, ignores in reversed(rules) if pattern.fullmatch(name)), False)


def _rule(line: str) -> _Rule | None:
    """Turn a line into a pattern for names relative to the root, and whether it ignores or takes back."""
    text = line.rstrip()
    if not text or text.startswith("#"):
        return None
    ignores = not text.startswith("!")
    text = text.removeprefix("!")
    folder, anchored = text.endswith("/"), "/" in text.rstrip("/")
    text = text.strip("/")
    before, after = "" if anchored else "(?:.*/)?", "/" if folder else "/?"
    try:
        return re.compile(before + _glob(text) + after), ignores
    except re.error:  # such as [z-a]
        return re.compile(before + re.escape(text) + after), ignores


def _glob(text: str) -> str:
    """Translate a glob of ``.gitignore`` into a regular expression."""
    translated = ""
    for token in re.findall(r"\*\*/|/\*\*|\*|\?|\[[^\]]+\]|\\.|.", text):
        if token == "**/":
            translated += "(?:.*/)?"
        elif token == "/**":
            translated += "/.*"
        elif token == "*":
            translated += "[^/]*"
        elif token == "?":
            translated += "[^/]"
        elif len(token) > 1 and token[0] == "[":
            inside = token[1:-1].replace("\\", "")
            translated += f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
        else:
            translated += re.escape(token[-1])
    return translated
