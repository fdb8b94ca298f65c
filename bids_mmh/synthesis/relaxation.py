"""MR properties of the regions at any field strength, with the spread between subjects.

Rounded from the literature at 3 T: Wansapura 1999
(doi:10.1002/(SICI)1522-2586(199904)9:4<531::AID-JMRI4>3.0.CO;2-L), Stanisz 2005 (doi:10.1002/mrm.20605),
Rooney 2007 (doi:10.1002/mrm.21122, whose field dependence of T1 is used too). Iron shortens T2 in the
pallidum, and less in the other deep nuclei.
"""

import torch
from torch import Tensor

from bids_mmh.synthesis.regions import COUNT, Region

# T1 and T2 in ms at 3 T, proton density, and the exponent of T1 in the field strength
_AT_3_T: dict[Region, tuple[float, float, float, float]] = {
    Region.CSF: (4200, 1600, 1.00, 0.0),
    Region.VENTRICLE: (4300, 1900, 1.00, 0.0),
    Region.CHOROID: (2200, 200, 0.92, 0.1),
    Region.CORTEX: (1400, 92, 0.84, 0.36),
    Region.CEREBELLAR_CORTEX: (1360, 90, 0.84, 0.36),
    Region.HIPPOCAMPUS: (1400, 96, 0.85, 0.36),
    Region.AMYGDALA: (1390, 95, 0.85, 0.36),
    Region.CAUDATE: (1270, 76, 0.82, 0.36),
    Region.PUTAMEN: (1210, 70, 0.81, 0.36),
    Region.ACCUMBENS: (1290, 80, 0.82, 0.36),
    Region.PALLIDUM: (960, 52, 0.75, 0.38),
    Region.THALAMUS: (1090, 74, 0.78, 0.38),
    Region.VENTRAL_DC: (960, 66, 0.75, 0.38),
    Region.BRAIN_STEM: (930, 75, 0.74, 0.38),
    Region.WHITE: (850, 70, 0.71, 0.38),
    Region.CEREBELLAR_WHITE: (880, 72, 0.72, 0.38),
    Region.LESION: (1500, 150, 0.88, 0.30),
    Region.VESSEL: (1700, 60, 0.80, 0.2),
}
_T2_EXPONENT = -0.15  # of T2 in the field strength


def relaxation(tesla: float, generator: torch.Generator, *, spread: float = 0.04) -> Tensor:
    """T1 (ms), T2 (ms) and proton density of every region for one subject at one field strength.

    Args:
        tesla: field strength.
        generator: of the subject's own factors.
        spread: standard deviation of the logarithm of each factor.

    Returns:
        (3, COUNT); regions that are nothing have density 0.
    """
    values = torch.ones(3, COUNT)
    values[2] = 0.0
    for region, (t1, t2, density, exponent) in _AT_3_T.items():
        field = tesla / 3.0
        values[:, region] = torch.tensor([t1 * field**exponent, t2 * field**_T2_EXPONENT, density])
    common = torch.randn(3, 1, generator=generator) * spread
    own = torch.randn(3, COUNT, generator=generator) * spread
    scale = torch.tensor([[1.0], [1.5], [0.3]])  # T2 varies most, water content least
    return values * torch.exp(scale * (common + own))
