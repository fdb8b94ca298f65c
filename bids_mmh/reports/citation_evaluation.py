"""The text for the methods section about the evaluation of a study: what was really computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from bids_mmh import __version__
from bids_mmh.reports.citation import REFERENCES, number_references

_REFERENCES: Mapping[str, str] = {
    **REFERENCES,
    "ssim": "Wang Z, Bovik AC, Sheikh HR, Simoncelli EP. Image quality assessment: from error visibility to "
    "structural similarity. IEEE Trans Image Process 13(4):600-612, 2004. doi:10.1109/TIP.2003.819861",
    "wilcoxon": "Wilcoxon F. Individual comparisons by ranking methods. Biometrics Bulletin 1(6):80-83, "
    "1945. doi:10.2307/3001968",
    "histogram": "Nyúl LG, Udupa JK, Zhang X. New variants of a method of MRI scale standardization. IEEE "
    "Trans Med Imaging 19(2):143-150, 2000. doi:10.1109/42.836373",
    "whitestripe": "Shinohara RT, et al. Statistical normalization techniques for magnetic resonance "
    "imaging. NeuroImage Clin 6:9-19, 2014. doi:10.1016/j.nicl.2014.08.008",
    "segment": "Ashburner J, Friston KJ. Unified segmentation. NeuroImage 26(3):839-851, 2005. "
    "doi:10.1016/j.neuroimage.2005.02.018",
    "synthseg": "Billot B, et al. SynthSeg: segmentation of brain MRI scans of any contrast and "
    "resolution without retraining. Med Image Anal 86:102789, 2023. doi:10.1016/j.media.2023.102789",
    "resnet": "He K, Zhang X, Ren S, Sun J. Deep residual learning for image recognition. CVPR 2016:770-778. "
    "doi:10.1109/CVPR.2016.90",
    "tsne": "van der Maaten L, Hinton G. Visualizing data using t-SNE. J Mach Learn Res 9:2579-2605, 2008.",
    "sklearn": "Pedregosa F, et al. Scikit-learn: machine learning in Python. J Mach Learn Res 12:2825-2830, "
    "2011.",
    "combat": "Johnson WE, Li C, Rabinovic A. Adjusting batch effects in microarray expression data using "
    "empirical Bayes methods. Biostatistics 8(1):118-127, 2007. doi:10.1093/biostatistics/kxj037",
    "neurocombat": "Fortin JP, et al. Harmonization of cortical thickness measurements across scanners and "
    "sites. NeuroImage 167:104-120, 2018. doi:10.1016/j.neuroimage.2017.11.024",
    "meng": "Meng XL, Rosenthal R, Rubin DB. Comparing correlated correlation coefficients. Psychol Bull "
    "111(1):172-175, 1992. doi:10.1037/0033-2909.111.1.172",
}

_COHORT = (
    "Harmonization was evaluated with bids-mmh {version} [bids_apps] on {cohort}. Subjects that the model "
    "[mmh] was trained or validated on were excluded{left_out}. The controls were the raw scans, histogram "
    "matching, z-score, WhiteStripe [whitestripe], Nyúl's standard scale [histogram], straight lines "
    "between the medians of tissues, and a Gaussian blur of 1.5 mm, fitted on scans of other subjects."
)
_PAIRS = (
    "Scans of travelling subjects ({pairs}) were compared inside both brain masks by structural "
    "similarity [ssim], peak signal-to-noise ratio, Pearson's correlation and the Wasserstein distance of "
    "histograms, {against}; differences from the raw scans were tested by two-sided Wilcoxon signed-rank "
    "tests [wilcoxon] on pairs."
)
_ANATOMY = {
    "built-in": "Tissues were segmented by a Gaussian mixture with priors [segment] and compared with those "
    "of the raw scan by Dice overlap and relative difference of volumes.",
    "SynthSeg": "Tissues were segmented by SynthSeg [synthseg] and compared with those of the raw scan by "
    "Dice overlap and relative difference of volumes.",
}
_SITES = (
    "Distances between sites were measured in the features of a randomly initialised 3D ResNet-18 "
    "[resnet] and shown by t-SNE [tsne]; sites were classified from these features by logistic regression "
    "[sklearn], trained on each method's own outputs, cross-validated by subject, with permuted sites for "
    "comparison."
)
_AGE = (
    "Age was predicted from the same features by ridge regression, cross-validated by subject; "
    "correlations of the grey-matter ratio with age before and after were compared by Fisher's z of "
    "dependent correlations [meng]."
)

_VOLUMES = (
    "Volumes of grey matter in blocks of 36 mm in template space were analysed in the same way: sites by "
    "logistic regression, age by ridge regression, and the correlation of their sum with age."
)
_COMBAT = (
    "As a control that harmonizes no images, ComBat [combat], with age and sex as covariates where they were "
    "known, as implemented in neuroCombat {version} [neurocombat], corrected the volumes of the raw scans, "
    "each subject's by a fit on all other subjects."
)


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of one sequence.

    Attributes:
        sequence: Suffix.
        scans: Number of scans.
        subjects: Number of subjects.
        sites: Number of sites.
        pairs: Number of pairs of travelling subjects.
        target: Target site of the comparison of pairs, or None.
        segmenter: ``built-in`` or ``SynthSeg``.
        age: Whether ages were known.
        volumes: Whether sites or ages were looked for in regional volumes.
        combat: Whether ComBat was possible.
    """

    sequence: str
    scans: int
    subjects: int
    sites: int
    pairs: int
    target: str | None
    segmenter: str
    age: bool
    volumes: bool = False
    combat: bool = False


def evaluation_text(parts: Sequence[Evaluated], trained_on: int) -> str:
    """Write the methods text of the evaluation.

    Args:
        parts: The evaluation by sequence; at least one.
        trained_on: Number of subjects that were excluded because a model has seen them.

    Returns:
        Markdown with numbered references, only to what was done.
    """
    cohort = " and ".join(
        f"{part.scans} {part.sequence} scans of {part.subjects} subjects at {part.sites} sites"
        for part in parts
    )
    left_out = f" ({trained_on} subjects)" if trained_on else ""
    paragraphs = [_COHORT.format(version=__version__, cohort=cohort, left_out=left_out)]
    paired = [part for part in parts if part.pairs]
    if paired:
        counts = ", ".join(f"{part.pairs} {part.sequence} pairs" for part in paired)
        targets = sorted({part.target for part in paired if part.target})
        against = (
            f"each with the same subject's raw scan at {' or '.join(targets)}"
            if targets
            else "each with the same subject's scan at another site after the same method"
        )
        paragraphs.append(_PAIRS.format(pairs=counts, against=against))
    paragraphs += [_ANATOMY[name] for name in sorted({part.segmenter for part in parts})]
    if any(part.sites > 1 for part in parts):
        paragraphs.append(_SITES)
    if any(part.age for part in parts):
        paragraphs.append(_AGE)
    if any(part.volumes for part in parts):
        paragraphs.append(_VOLUMES)
    if any(part.combat for part in parts):
        paragraphs.append(_COMBAT.format(version=version("neuroCombat")))
    return number_references(" ".join(paragraphs), _REFERENCES)
