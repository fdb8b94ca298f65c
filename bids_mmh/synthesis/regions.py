"""The regions that the generator gives signals of their own, and FreeSurfer's labels for them."""

from enum import IntEnum


class Region(IntEnum):
    """Regions of an anatomy; 0 is nothing."""

    NONE = 0
    CSF = 1
    VENTRICLE = 2
    CHOROID = 3
    CORTEX = 4
    CEREBELLAR_CORTEX = 5
    HIPPOCAMPUS = 6
    AMYGDALA = 7
    CAUDATE = 8
    PUTAMEN = 9
    ACCUMBENS = 10
    PALLIDUM = 11
    THALAMUS = 12
    VENTRAL_DC = 13
    BRAIN_STEM = 14
    WHITE = 15
    CEREBELLAR_WHITE = 16
    LESION = 17
    VESSEL = 18


FLUID = (Region.CSF, Region.VENTRICLE)
CORTICAL_GREY = (Region.CORTEX, Region.CEREBELLAR_CORTEX, Region.HIPPOCAMPUS, Region.AMYGDALA)
DEEP_GREY = (Region.CAUDATE, Region.PUTAMEN, Region.ACCUMBENS, Region.PALLIDUM, Region.THALAMUS)
WHITE_MATTER = (Region.WHITE, Region.CEREBELLAR_WHITE, Region.BRAIN_STEM, Region.VENTRAL_DC)
COUNT = len(Region)

FREESURFER: dict[int, Region] = {
    24: Region.CSF,
    **dict.fromkeys((4, 43, 5, 44, 14, 15, 72), Region.VENTRICLE),
    **dict.fromkeys((31, 63, 136, 137, 163, 164), Region.CHOROID),
    **dict.fromkeys((3, 42), Region.CORTEX),
    **dict.fromkeys((8, 47), Region.CEREBELLAR_CORTEX),
    **dict.fromkeys((17, 53), Region.HIPPOCAMPUS),
    **dict.fromkeys((18, 54), Region.AMYGDALA),
    **dict.fromkeys((11, 50), Region.CAUDATE),
    **dict.fromkeys((12, 51), Region.PUTAMEN),
    **dict.fromkeys((26, 58), Region.ACCUMBENS),
    **dict.fromkeys((13, 52), Region.PALLIDUM),
    **dict.fromkeys((10, 49), Region.THALAMUS),
    **dict.fromkeys((28, 60), Region.VENTRAL_DC),
    16: Region.BRAIN_STEM,
    85: Region.WHITE,
    **dict.fromkeys((2, 41), Region.WHITE),
    **dict.fromkeys((7, 46), Region.CEREBELLAR_WHITE),
    **dict.fromkeys((25, 57), Region.LESION),
    **dict.fromkeys((30, 62), Region.VESSEL),
}
"""FreeSurfer's number of each label to its region."""
