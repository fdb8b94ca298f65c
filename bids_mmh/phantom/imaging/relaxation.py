"""Tissues of the phantom and their MR properties at 1.5 T and 3 T.

T1 and T2 in ms from the literature, rounded to what the sources agree on:

* white and grey matter, 1.5 T: Kwan, Evans & Pike, IEEE Trans Med Imaging 1999;18:1085 (the BrainWeb
  simulator, T1 between its values and those of Stanisz 2005); 3 T: Wansapura et al., J Magn Reson Imaging
  1999;9:531. Deep grey matter is between the two, with the T2 that its iron shortens.
* muscle: Stanisz et al., Magn Reson Med 2005;54:507.
* fat and marrow: de Bazelaire et al., Radiology 2004;230:652 (subcutaneous fat; vertebral marrow, which is
  redder than the fatty marrow of the skull, so that its T1 is taken towards that of fat).
* cerebrospinal fluid and vitreous: Rooney et al., Magn Reson Med 2007;57:308 (T1); T2 about 2 s.
* cortical bone: T2 below 1 ms, no signal at any echo time used here.

Proton densities are relative to water: those of the brain are close to BrainWeb's, those of fat, marrow and
muscle are chosen so that the scalp is as bright beside white matter as on real scans.
"""

from dataclasses import dataclass
from enum import IntEnum


class Tissue(IntEnum):
    """Labels of the phantom, as in its ``dseg`` images (0 is air)."""

    AIR = 0
    WHITE_MATTER = 1
    CORTICAL_GREY_MATTER = 2
    DEEP_GREY_MATTER = 3
    CSF = 4
    BONE = 5
    MARROW = 6
    FAT = 7
    MUSCLE = 8
    VITREOUS = 9


@dataclass(frozen=True)
class Relaxation:
    """Properties of one tissue at one field strength.

    Attributes:
        t1: Longitudinal relaxation time in ms.
        t2: Transverse relaxation time in ms.
        pd: Proton density relative to water, 0 to 1.
    """

    t1: float
    t2: float
    pd: float


_AT_1_5_T = {
    Tissue.AIR: Relaxation(1000, 1, 0.0),
    Tissue.WHITE_MATTER: Relaxation(610, 72, 0.72),
    Tissue.CORTICAL_GREY_MATTER: Relaxation(990, 93, 0.84),
    Tissue.DEEP_GREY_MATTER: Relaxation(850, 80, 0.80),
    Tissue.CSF: Relaxation(4000, 2000, 1.0),
    Tissue.BONE: Relaxation(250, 0.5, 0.2),
    Tissue.MARROW: Relaxation(400, 55, 0.55),
    Tissue.FAT: Relaxation(343, 58, 0.70),
    Tissue.MUSCLE: Relaxation(1008, 44, 0.85),
    Tissue.VITREOUS: Relaxation(4000, 1600, 1.0),
}
_AT_3_T = {
    Tissue.AIR: Relaxation(1000, 1, 0.0),
    Tissue.WHITE_MATTER: Relaxation(832, 70, 0.72),
    Tissue.CORTICAL_GREY_MATTER: Relaxation(1331, 95, 0.84),
    Tissue.DEEP_GREY_MATTER: Relaxation(1130, 75, 0.80),
    Tissue.CSF: Relaxation(4300, 2000, 1.0),
    Tissue.BONE: Relaxation(280, 0.4, 0.2),
    Tissue.MARROW: Relaxation(450, 55, 0.55),
    Tissue.FAT: Relaxation(382, 68, 0.70),
    Tissue.MUSCLE: Relaxation(1412, 50, 0.85),
    Tissue.VITREOUS: Relaxation(4300, 1600, 1.0),
}


def relaxation(tissue: Tissue, field_strength: float) -> Relaxation:
    """Look up the MR properties of a tissue.

    Args:
        tissue: The tissue.
        field_strength: 1.5 or 3.0 (tesla).

    Returns:
        T1 and T2 in ms, and relative proton density.

    Raises:
        KeyError: If the field strength is another one.

    Examples:
        >>> relaxation(Tissue.WHITE_MATTER, 3.0)
        Relaxation(t1=832, t2=70, pd=0.72)
    """
    return {1.5: _AT_1_5_T, 3.0: _AT_3_T}[field_strength][tissue]
