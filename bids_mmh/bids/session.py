"""The two things that the participant level works on: a scan, and a session of scans."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Scan:
    """One raw image.

    Attributes:
        path: The NIfTI file.
        sequence: Its suffix, such as ``T1w``.
        entities: Entities of its name under pybids' names, values as they are spelled in the name.
        site: Where it was acquired; None while that is unknown.
        problem: Sentence on a sidecar or table that could not be read to learn the site; None as a rule.
    """

    path: Path
    sequence: str
    entities: Mapping[str, str] = field(hash=False)
    site: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Session:
    """The scans of one visit of one subject; visits are never merged.

    Attributes:
        subject: Label without ``sub-``.
        session: Label without ``ses-``; None in a dataset without sessions.
        scans: In the order of the sequences asked for, then by name.
    """

    subject: str
    session: str | None
    scans: tuple[Scan, ...]

    @property
    def label(self) -> str:
        """``sub-01_ses-A``, or ``sub-01`` without sessions."""
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")
