"""Fetch one file that is baked into an image, and keep it only if its SHA-256 is the expected one.

usage: fetch.py {auto,yes,no} SHA256 URL TARGET

``no`` does nothing. ``yes`` fails when the host cannot be reached, ``auto`` says so and goes on without the
file. A file with another SHA-256 is never kept, and always an error.
"""

import hashlib
import shutil
import sys
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

SECONDS = 60


def main(wanted: str, expected: str, url: str, target: Path) -> int:
    """Fetch ``url`` to ``target``; returns the exit code."""
    if wanted not in {"auto", "yes", "no"}:
        return _say(f"{target.name}: '{wanted}' is not one of auto, yes and no.", 64)
    if wanted == "no":
        return _say(f"{target.name}: left out, as asked for.")
    if len(expected) != 64:
        return _say(f"{target.name}: a SHA-256 of 64 digits is needed with {url}.", 64)
    with TemporaryDirectory() as folder:
        part = Path(folder) / target.name
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as answer, part.open("wb") as stream:
                shutil.copyfileobj(answer, stream)
        except OSError as error:
            return _say(f"{target.name}: left out, {url} cannot be had ({error}).", int(wanted == "yes"))
        found = hashlib.sha256(part.read_bytes()).hexdigest()
        if found != expected.lower():
            return _say(f"{target.name}: the SHA-256 of {url} is {found} instead of {expected}.", 1)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, target)
    return _say(f"{target.name}: {target.stat().st_size} bytes from {url}.")


def _say(sentence: str, code: int = 0) -> int:
    sys.stderr.write(sentence + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], Path(sys.argv[4])))
