"""One subject: age, sex, anatomy and head shape, all from the seed and the number of the subject."""

from dataclasses import dataclass

import numpy as np

from bids_mmh.phantom.head.anatomy import Anatomy, Lesion, build_anatomy
from bids_mmh.phantom.head.deformation import Matrix, draw_displacement, scaling
from bids_mmh.phantom.head.grid import Float
from bids_mmh.phantom.head.template_head import TemplateHead


@dataclass(frozen=True)
class Subject:
    """Demographics and morphology of a subject.

    Attributes:
        label: BIDS label, e.g. ``001``.
        age: Age in years.
        sex: ``F`` or ``M``.
        atrophy: -1.2 to 1.2, grows with age.
        size: Head size relative to an adult; a child of two years has about 0.92.
        ventricles: Outward displacement of the walls of the ventricles in mm, on top of that by age.
        lesions: Lesions of the brain.
    """

    label: str
    age: int
    sex: str
    atrophy: float
    size: float = 1.0
    ventricles: float = 0.0
    lesions: tuple[Lesion, ...] = ()


@dataclass(frozen=True)
class Head:
    """A subject's head.

    Attributes:
        anatomy: Tissues in template space.
        displacement: Non-linear part of the transform from this head to the template, mm.
        to_template: Linear part: scaling, 4 x 4, mm to mm.
    """

    anatomy: Anatomy
    displacement: Float
    to_template: Matrix


def _random(seed: int, number: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, 1, number, stream])


def draw_subject(seed: int, number: int) -> Subject:
    """Draw age, sex and atrophy of a subject.

    Args:
        seed: Random seed of the dataset.
        number: Number of the subject, from 0.

    Returns:
        The subject; it does not depend on how many others there are.

    Examples:
        >>> draw_subject(seed=0, number=0).label
        '001'
        >>> draw_subject(seed=0, number=4) == draw_subject(seed=0, number=4)
        True
    """
    rng = _random(seed, number, 0)
    age = int(rng.integers(20, 81))
    sex = "FM"[rng.integers(2)]
    atrophy = float(np.clip((age - 50) / 32 + rng.normal(0, 0.2), -1.2, 1.2))
    return Subject(label=f"{number + 1:03d}", age=age, sex=sex, atrophy=atrophy)


def build_head(template: TemplateHead, seed: int, number: int, subject: Subject | None = None) -> Head:
    """Build the head of a subject; it is the same at every site.

    Args:
        template: The average head.
        seed: Random seed of the dataset.
        number: Number of the subject, from 0.
        subject: Replaces the result of :func:`draw_subject`, e.g. for a child or a patient.

    Returns:
        The head.
    """
    subject = subject or draw_subject(seed, number)
    rng = _random(seed, number, 1)
    # The template is larger than life: its brain has 1.9 litres, people have about 1.5.
    size = (0.945 if subject.sex == "M" else 0.91) * rng.normal(1, 0.02) * rng.normal(1, 0.02, size=3)
    widening = 1.3 * subject.atrophy + rng.normal(0, 0.4) + subject.ventricles
    return Head(
        anatomy=build_anatomy(template, _random(seed, number, 2), subject.atrophy, subject.lesions),
        displacement=draw_displacement(rng, template.ventricles, widening),
        to_template=scaling(1 / (subject.size * np.clip(size, 0.84, 1.03))),
    )
