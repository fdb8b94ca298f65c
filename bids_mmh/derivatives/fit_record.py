"""What is kept of a fit beside its weights: what was asked for, and its model card."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bids_mmh import __version__
from bids_mmh.bids.atomic import write_json, write_text
from bids_mmh.derivatives.models import UNIFIED, resolve_model
from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.settings import AUTO, NO_TARGET, Settings

FILE = Path("training") / "fit.json"

_CARD = """# Model card: {name}

Fitted by bids-mmh {version} to the study whose derivatives it lies in, on {created}.

- Stages: {stages}. Target: {target}.
- Began with: {source}.
- Data: {subjects} subjects; {train} train, {validation} validate, {test} test (`training/split.tsv`).
- Losses: `training/stage1/losses.tsv`{stage2}.
- Sites: `training/target_sites.tsv`. All settings: `training/recipe.json`.
{checks}
How good it is is measured by `group` on the subjects that test: see `group.html` of the study. Figures of one
study do not hold for scanners, ages or diseases that it lacks.
"""


@dataclass(frozen=True)
class FitRecord:
    """A fit that was asked for or made.

    Attributes:
        fit: ``all``, ``stage1`` or ``stage2``.
        target: the target site, ``auto`` or ``none``.
        start: SHA-256 of the model that it begins with; None for the default.
        recipe: SHA-256 of the recipe file; None for the default.
        split: SHA-256 of the table of the split; None for the default.
        subjects: with ``sub-``: everyone who was in the study when it was made.
    """

    fit: str
    target: str
    start: str | None = None
    recipe: str | None = None
    split: str | None = None
    subjects: tuple[str, ...] = ()

    @classmethod
    def asked(cls, settings: Settings) -> "FitRecord":
        """What the options of a run ask for.

        Raises:
            UsageError: ``--fit`` and ``--target-site`` contradict each other, or there is no such model.
            NoInputError: a file does not exist.
        """
        assert settings.fit is not None
        if settings.fit == "stage2" and settings.target_site == NO_TARGET:
            raise UsageError(
                "--fit stage2 fine-tunes to a target site, and --target-site none rules that out."
            )
        target = NO_TARGET if settings.fit == "stage1" else settings.target_site
        start = resolve_model(settings.model, settings.output_dir).sha256 if settings.model else None
        return cls(settings.fit, target, start, _digest(settings.recipe), _digest(settings.split))

    @classmethod
    def read(cls, folder: Path) -> "FitRecord | None":
        """The record of a model folder; None where no fit was finished."""
        try:
            content = json.loads((folder / FILE).read_text(encoding="utf-8"))
            return cls(**content | {"subjects": tuple(content["subjects"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, folder: Path) -> None:
        """Write the record: the last file of a fit, which says that it is finished."""
        write_json(folder / FILE, asdict(self) | {"subjects": list(self.subjects)})

    @property
    def has_target(self) -> bool:
        """Whether it comes to Stage II."""
        return self.target != NO_TARGET

    def answers(self, asked: "FitRecord", name: str) -> bool:
        """Whether this fit is what is asked for, so that nothing is to be trained.

        Args:
            asked: what the options ask for.
            name: of the model.

        Returns:
            False where only Stage II is still to come.

        Raises:
            UsageError: another model has this name.
        """
        only_stage1 = asked.has_target and not self.has_target
        differs = {
            "--target-site": self.has_target and asked.target not in (AUTO, self.target),
            "--model": asked.start is not None and not only_stage1 and asked.start != self.start,
            "--recipe": asked.recipe not in (None, self.recipe),
            "--split": asked.split not in (None, self.split),
        }
        wrong = [option for option, other in differs.items() if other]
        if wrong:
            goal = f"the site {self.target}" if self.has_target else "the unified domain"
            raise UsageError(
                f"There is a model {name} already, fitted to {goal} with another {' and '.join(wrong)}: "
                "choose another --fit-name, or remove its folder."
            )
        return not only_stage1


def write_card(
    folder: Path, record: FitRecord, source: str, parts: Mapping[str, int], checks: Sequence[str] = ()
) -> None:
    """Write the README of a fitted model.

    Args:
        folder: of the model.
        record: what was made.
        source: what it began with, in words.
        parts: number of subjects that train, validate and test.
        checks: sentences on how it compares with the same networks without fine-tuning.
    """
    text = _CARD.format(
        name=folder.name,
        version=__version__,
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
        stages="Stage I and II" if record.has_target else "Stage I",
        target=f"the site {record.target}" if record.has_target else f"the {UNIFIED} domain",
        source=source,
        stage2=" and `training/stage2/losses.tsv`" if record.has_target else "",
        checks="".join(f"- {check}\n" for check in checks),
        subjects=len(record.subjects),
        **parts,
    )
    write_text(folder / "README.md", text)


def _digest(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise NoInputError(
            f"{path} cannot be read ({error.strerror}): check the option that names it."
        ) from None
