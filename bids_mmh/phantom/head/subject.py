"""One person: age, sex, tissues and shape, all from (seed, number of the person)."""

from dataclasses import dataclass

import numpy as np

from bids_mmh.phantom.head.anatomy import Anatomy, Lesion, build_anatomy
from bids_mmh.phantom.head.deformation import Matrix, draw_displacement, scaling
from bids_mmh.phantom.head.grid import Float
from bids_mmh.phantom.head.template_head import TemplateHead


@dataclass(frozen=True)
class Person:
    """What participants.tsv knows of a person, and what it does not.

    Attributes:
        label: BIDS label, e.g. ``001``.
        age: Years.
        sex: ``F`` or ``M``.
        atrophy: -1.2 to 1.2, grows with age.
        size: Length of the head beside an adult's; a child of two years has about 0.92.
        ventricles: How far their walls are moved outwards on top of what age does, in mm.
        lesions: Diseased tissue.
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
    """A person's head.

    Attributes:
        anatomy: Tissues in template space.
        displacement: Non-linear part of the way from this head to the template.
        to_template: Linear part: scaling, 4 x 4, mm to mm.
    """

    anatomy: Anatomy
    displacement: Float
    to_template: Matrix


def _random(seed: int, number: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, 1, number, stream])


def draw_person(seed: int, number: int) -> Person:
    """Draw age and sex of person ``number`` (0, 1, ...)."""
    rng = _random(seed, number, 0)
    age = int(rng.integers(20, 81))
    sex = "FM"[rng.integers(2)]
    atrophy = float(np.clip((age - 50) / 32 + rng.normal(0, 0.2), -1.2, 1.2))
    return Person(label=f"{number + 1:03d}", age=age, sex=sex, atrophy=atrophy)


def build_head(template: TemplateHead, seed: int, number: int, person: Person | None = None) -> Head:
    """Build the head of person ``number``; the same at whatever site it is scanned.

    Args:
        template: The average head.
        seed: Decides everything.
        number: 0, 1, ...
        person: Stands in for what :func:`draw_person` says: a child, a patient.
    """
    person = person or draw_person(seed, number)
    rng = _random(seed, number, 1)
    # The template is larger than life: its brain has 1.9 litres, people have about 1.5.
    size = (0.945 if person.sex == "M" else 0.91) * rng.normal(1, 0.02) * rng.normal(1, 0.02, size=3)
    widening = 1.3 * person.atrophy + rng.normal(0, 0.4) + person.ventricles
    return Head(
        anatomy=build_anatomy(template, _random(seed, number, 2), person.atrophy, person.lesions),
        displacement=draw_displacement(rng, template.ventricles, widening),
        to_template=scaling(1 / (person.size * np.clip(size, 0.84, 1.03))),
    )
