"""Losses on style vectors S = Ψ(I) − Ψ(I′) (Eqs. 18, 19), and the guard against a collapsed aggregator.

The aggregator is trained with the loss that it defines. An aggregator that answers the same to every volume
makes all style vectors zero, and with them both terms that compare their strength. What holds it open is a
third term on real scans, whose acquisitions are known: style vectors of one acquisition lie together across
subjects and apart from those of others. :func:`separation` measures whether they do.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_SHORT = 1e-3  # directions of vectors well below this length fade to zero instead of being random


def displacement_loss(target: Tensor, output: Tensor) -> Tensor:
    """L_S (Eq. 19) per sample: difference of length and of direction; (B,).

    A zero vector has no direction: against it the second term is 1, and gradients stay finite.

    Args:
        target: style vectors S_Y (B, D).
        output: style vectors S_X→Y (B, D).
    """
    length = (target.norm(dim=1) - output.norm(dim=1)).abs()
    return length + 1.0 - (_direction(target) * _direction(output)).sum(1)


def consistency_loss(target: Tensor, rebuilt: Tensor) -> Tensor:
    """L_C per sample: mean absolute difference of S_Y and S_Y→Y (B, D) over the components; (B,).

    The mean rather than the sum, so that its size does not grow with the encoder's D.
    """
    return (target - rebuilt).abs().mean(1)


def contrastive_loss(styles: Tensor, acquisitions: Sequence[Hashable], *, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss of real scans' style vectors over their acquisitions; a scalar.

    Each vector with a partner of its acquisition is an anchor: the mean negative log-probability of choosing
    a partner among all others by cosine similarity (InfoNCE). Collapsed vectors cost log(N − 1).

    Args:
        styles: (N, D) style vectors.
        acquisitions: N labels, such as (site, sequence).
        temperature: of the softmax.

    Raises:
        ValueError: no two vectors share an acquisition, or all do.
    """
    same = _same(acquisitions).to(styles.device)
    others = ~torch.eye(len(styles), dtype=torch.bool, device=styles.device)
    partners = same & others
    if not partners.any() or same.all():
        raise ValueError("a contrast needs two scans of one acquisition and one of another")
    directions = _direction(styles)
    logits = (directions @ directions.T / temperature).masked_fill(~others, -torch.inf)
    log_probability = logits.log_softmax(dim=1).masked_fill(~partners, 0.0)
    count = partners.sum(1)
    anchors = count > 0
    return -(log_probability.sum(1)[anchors] / count[anchors]).mean()


@dataclass(frozen=True)
class Separation:
    """How well style vectors separate acquisitions.

    Attributes:
        between: mean cosine distance between different acquisitions of one subject (of any subjects, if none
            was scanned twice).
        within: mean cosine distance within one acquisition across subjects.
        norm: mean length of the vectors.
    """

    between: float
    within: float
    norm: float

    @property
    def ratio(self) -> float:
        """``between / within``: above 1 the vectors carry style rather than subject."""
        return self.between / max(self.within, 1e-9)

    @property
    def collapsed(self) -> bool:
        """Whether the vectors carry no style: no longer than rounding, or no nearer within an acquisition."""
        return self.norm < _SHORT or self.ratio <= 1.0


@torch.no_grad()
def separation(styles: Tensor, acquisitions: Sequence[Hashable], subjects: Sequence[Hashable]) -> Separation:
    """Measure style vectors (N, D) of scans with known acquisitions and subjects.

    One sequence at a time: T1w and T2w differ so much that together they hide a collapse within each.

    Raises:
        ValueError: no acquisition has two subjects, or there is only one acquisition.
    """
    directions = _direction(styles.double())
    distance = (1.0 - directions @ directions.T).clamp(min=0.0).cpu()
    acquisition, subject = _same(acquisitions), _same(subjects)
    within = acquisition & ~subject
    travelled = ~acquisition & subject
    between = travelled if travelled.any() else ~acquisition
    if not within.any() or not between.any():
        raise ValueError("separation needs two acquisitions and two subjects in one of them")
    norm = float(styles.norm(dim=1).mean())
    return Separation(float(distance[between].mean()), float(distance[within].mean()), norm)


def _direction(vectors: Tensor) -> Tensor:
    """Unit vectors (…, D), fading to zero for vectors of almost no length; smooth everywhere."""
    return vectors / (vectors.square().sum(-1, keepdim=True) + _SHORT**2).sqrt()


def _same(labels: Sequence[Hashable]) -> Tensor:
    """(N, N) boolean: which labels are equal."""
    codes = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    code = torch.tensor([codes[label] for label in labels])
    return code[:, None] == code[None]
