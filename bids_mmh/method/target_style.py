"""The style of a site: the mean of its scans' styles, and never of the subject that is harmonized to it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bids_mmh.errors import BadDataError
from bids_mmh.files import atomic_path
from bids_mmh.method.model_files import STYLES_FILE
from bids_mmh.method.style.statistics import StyleStatistics, join_styles
from bids_mmh.method.style.tissue_style import TissueStatistics

_TISSUES = ("median", "spread", "detail", "regional")
_WHOLE = ("histogram", "mean", "std")


@dataclass(frozen=True)
class TargetStyles:
    """Styles of the scans of one site.

    Attributes:
        subjects: whose scan each is, with ``sub-``.
        sequence: (N,) sequence index of each.
        styles: of all of them, batch size N, with statistics by tissue.
    """

    subjects: tuple[str, ...]
    sequence: Tensor
    styles: StyleStatistics

    def mean(self, m: int, *, without: str | None = None) -> StyleStatistics:
        """Mean style of a sequence; batch size 1.

        Args:
            m: sequence index.
            without: a subject whose own scans do not count: they are the answer.

        Raises:
            BadDataError: nobody else was scanned at the site.
        """
        others = torch.tensor([subject != without for subject in self.subjects])
        chosen = (others & (self.sequence == m)).nonzero().flatten()
        if not len(chosen):
            raise BadDataError(
                f"No subject but {without} was scanned at the target site with this sequence, and a "
                "subject's own scan there would be the answer: choose another target site."
            )
        return self.styles.map(lambda values: values[chosen].mean(0, keepdim=True))

    def save(self, folder: Path) -> None:
        """Write them into a model folder."""
        from safetensors.torch import save_file  # here and below: training on a bare machine goes without

        values = {name: getattr(self.styles, name) for name in _WHOLE}
        values |= {name: getattr(self.styles.by_tissue, name) for name in _TISSUES}
        tensors = {name: value.cpu().contiguous() for name, value in values.items()}
        with atomic_path(folder / STYLES_FILE) as partial:
            metadata = {"subjects": json.dumps(self.subjects)}
            save_file({**tensors, "sequence": self.sequence}, partial, metadata=metadata)

    @classmethod
    def load(cls, folder: Path) -> "TargetStyles | None":
        """Read those of a model folder; None where it has none.

        Raises:
            BadDataError: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        file = folder / STYLES_FILE
        if not file.is_file():
            return None
        try:
            with safe_open(file, "pt") as stored:
                subjects = tuple(json.loads((stored.metadata() or {})["subjects"]))
                tissues = TissueStatistics(*(stored.get_tensor(name).clone() for name in _TISSUES))
                histogram, mean, std = (stored.get_tensor(name).clone() for name in _WHOLE)
                styles = StyleStatistics(histogram, mean, std, tissues)
                return cls(
                    subjects, stored.get_tensor("sequence").clone(), styles
                )  # the file may be replaced
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BadDataError(f"{file} is damaged ({error}): make the model again.") from error


def gather_styles(
    subjects: Sequence[str], sequences: Sequence[int], styles: Sequence[StyleStatistics]
) -> TargetStyles:
    """Join styles of batch size 1, with statistics by tissue."""
    return TargetStyles(tuple(subjects), torch.tensor(list(sequences)), join_styles(styles))
