"""What failed in a graph, read from the crash files that every Nipype plugin leaves."""

import re
from dataclasses import dataclass
from pathlib import Path

from bids_mmh.errors import BidsMmhError, ExitCode

# The last line of a traceback, behind the tabs by which Nipype indents what a node raised.
_ERROR_LINE = re.compile(
    r"^\t*(?:\w+\.)*([A-Z]\w*(?:Error|Exception|Pool|Interrupt|Exit|KilledWorker))(?:: (.*))?$", re.M
)
_NODE_LINE = re.compile(r"^Node: (?:\w+\.)*?(\w+)\.(\w+)$", re.M)
_MEMORY = {"MemoryError", "BrokenProcessPool", "OutOfMemoryError", "KilledWorker"}
_NO_SPACE = ("No space left on device", "Disk quota exceeded")
_CRASH_FILES = "crash-*.txt"
_SYSTEM = {"OSError", "PermissionError", "FileNotFoundError", "TimeoutError", "BlockingIOError"}


@dataclass(frozen=True)
class Failure:
    """A node that failed.

    Attributes:
        session: name of the session's workflow.
        node: name of the node in it.
        sentence: what happened, for users.
        code: exit code that fits.
        crash_file: file with the traceback.
    """

    session: str
    node: str
    sentence: str
    code: ExitCode
    crash_file: Path


class CrashFolder:
    """A folder that Nipype writes crash files to, each of which is read once, as it appears.

    Args:
        path: the folder; made if it is not there. What is in it already is of earlier runs.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._read = set(path.glob(_CRASH_FILES))
        self._failures: dict[str, list[Failure]] = {}

    def failures_of(self, session: str) -> list[Failure]:
        """The nodes of a session that have failed so far, in order of time."""
        self._update()
        return self._failures.get(session, [])

    def has_new(self) -> bool:
        """Whether any node has failed."""
        self._update()
        return bool(self._failures)

    def _update(self) -> None:
        for path in sorted(set(self.path.glob(_CRASH_FILES)) - self._read):  # their names begin with the time
            failure = _read_failure(path)
            self._failures.setdefault(failure.session, []).append(failure)
            self._read.add(path)


def _read_failure(path: Path) -> Failure:
    text = path.read_text(encoding="utf-8", errors="replace")
    node = _NODE_LINE.search(text)
    session, name = node.groups() if node else ("", "")
    errors = [match for match in _ERROR_LINE.findall(text) if match[0] != "NodeExecutionError"]
    if not errors:
        sentence = (
            f"A step failed, and {path} does not say why: the disk may be full. Free space and run "
            "again, and report that file if it comes again."
        )
        return Failure(session, name, sentence, ExitCode.IO, path)
    error, message = errors[-1]
    full_disk = next((text for _, text in errors if _is_full(text)), None)
    if error in _SYSTEM and full_disk and not _is_full(message):  # a file is missed that found no space
        message = f"{full_disk}, {message}"
    sentence, code = explain(error, message, path)
    return Failure(session, name, sentence, code, path)


def _is_full(message: str) -> bool:
    return any(reason in message for reason in _NO_SPACE)


def explain(error: str, message: str, path: Path) -> tuple[str, ExitCode]:
    """Say what an error means for users.

    Args:
        error: name of its class.
        message: what it says.
        path: file or folder that holds the traceback.

    Returns:
        A sentence, and the exit code that fits.
    """
    for known in BidsMmhError.__subclasses__():
        if error == known.__name__:
            return message, known.code
    if error in _MEMORY or "out of memory" in message:
        advice = "run again with fewer --nprocs, with --mem, or on a bigger machine"
        return f"The memory was used up ({error}): {advice}; details are in {path}.", ExitCode.TRY_AGAIN
    if error in _SYSTEM and _is_full(message):
        return f"The disk is full or the quota used up ({message}): free space and run again.", ExitCode.IO
    if error in _SYSTEM:
        advice = "check permissions and free space and run again"
        return f"Reading or writing failed ({message}): {advice}; details are in {path}.", ExitCode.IO
    return f"A step failed unexpectedly ({error}: {message}): please report it with {path}.", ExitCode.DATA
