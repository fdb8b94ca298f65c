"""The text for the methods section: the processing that was really done, and its references."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bids_mmh import __version__

REFERENCES: Mapping[str, str] = {
    "mmh": "Wu M, Sun Y, Wang Q, Yap PT, Liu M. Unified multi-site multi-sequence brain MRI harmonization "
    "enriched by biomedical semantic style. 2026.",
    "bids_apps": "Gorgolewski KJ, et al. BIDS apps: improving ease of use, accessibility, and "
    "reproducibility of neuroimaging data analysis methods. PLoS Comput Biol 13(3):e1005209, 2017. "
    "doi:10.1371/journal.pcbi.1005209",
    "nipype": "Gorgolewski K, et al. Nipype: a flexible, lightweight and extensible neuroimaging data "
    "processing framework in Python. Front Neuroinform 5:13, 2011. doi:10.3389/fninf.2011.00013",
    "n4": "Tustison NJ, et al. N4ITK: improved N3 bias correction. IEEE Trans Med Imaging 29(6):1310-1320, "
    "2010. doi:10.1109/TMI.2010.2046908",
    "deepbet": "Fisch L, et al. deepbet: fast brain extraction of T1-weighted MRI using convolutional neural "
    "networks. Comput Biol Med 179:108845, 2024. doi:10.1016/j.compbiomed.2024.108845",
    "synthstrip": "Hoopes A, Mora JS, Dalca AV, Fischl B, Hoffmann M. SynthStrip: skull-stripping for any "
    "brain image. NeuroImage 260:119474, 2022. doi:10.1016/j.neuroimage.2022.119474",
    "freesurfer": "Fischl B. FreeSurfer. NeuroImage 62(2):774-781, 2012. "
    "doi:10.1016/j.neuroimage.2012.01.021",
    "simpleitk": "Lowekamp BC, Chen DT, Ibáñez L, Blezek D. The design of SimpleITK. Front Neuroinform 7:45, "
    "2013. doi:10.3389/fninf.2013.00045",
    "templateflow": "Ciric R, et al. TemplateFlow: FAIR-sharing of multi-scale, multi-species brain models. "
    "Nat Methods 19:1568-1571, 2022. doi:10.1038/s41592-022-01681-2",
    "icbm": "Fonov V, Evans AC, Botteron K, Almli CR, McKinstry RC, Collins DL. Unbiased average "
    "age-appropriate atlases for pediatric studies. NeuroImage 54(1):313-327, 2011. "
    "doi:10.1016/j.neuroimage.2010.07.033",
    "biomedclip": "Zhang S, et al. BiomedCLIP: a multimodal biomedical foundation model pretrained from "
    "fifteen million scientific image-text pairs. arXiv:2303.00915, 2023.",
    "ddim": "Song J, Meng C, Ermon S. Denoising diffusion implicit models. arXiv:2010.02502, 2020.",
    "gradients": "Haber E, Modersitzki J. Intensity gradient based registration and fusion of multi-modal "
    "images. Methods Inf Med 46(3):292-299, 2007. doi:10.1160/ME9046",
    "nlm": "Buades A, Coll B, Morel JM. A review of image denoising algorithms, with a new one. Multiscale "
    "Model Simul 4(2):490-530, 2005. doi:10.1137/040616024",
    "mixture": "Ashburner J, Friston KJ. Unified segmentation. NeuroImage 26(3):839-851, 2005. "
    "doi:10.1016/j.neuroimage.2005.02.018",
    "pytorch": "Paszke A, et al. PyTorch: an imperative style, high-performance deep learning library. "
    "Adv Neural Inf Process Syst 32:8024-8035, 2019.",
}

_PREPROCESSING = (
    "Anatomical scans ({sequences}) were preprocessed and harmonized with bids-mmh {version}, a BIDS App "
    "[bids_apps] built on Nipype [nipype]. Each scan was brought to a common orientation, cropped below the "
    "head, and corrected for intensity non-uniformity with N4 [n4] as implemented in SimpleITK [simpleitk]. "
    "{masks} In each session one scan (the T1w if there was one) was registered to the "
    "template {template} [icbm]{source} with nine degrees of freedom{aligner}, the others rigidly to that "
    "scan{edges}; the composed transform was applied in a single interpolation.{derivatives}"
)
_IN_TEMPLATE_SPACE = (
    "Anatomical scans ({sequences}), which were in the space of the template {template} [icbm]{source} "
    "already, were prepared and harmonized with bids-mmh {version}, a BIDS App [bids_apps] built on "
    "Nipype [nipype]. {masks} The scans were neither corrected for intensity non-uniformity nor "
    "registered.{derivatives}"
)
_EXTRACTORS = {
    "builtin": "deepbet [deepbet] (T1w) and the software's own network, which follows SynthStrip "
    "[synthstrip] and checked deepbet's masks",
    "deepbet": "deepbet [deepbet]",
    "network": "the software's own network, which follows SynthStrip [synthstrip]",
    "synthstrip": "SynthStrip [synthstrip]",
    "freesurfer": "mri_synthstrip [synthstrip] of FreeSurfer [freesurfer]",
}
_MASKS = {
    "auto": "Brain masks of whole-head scans were made with {extractor}; scans that were skull-stripped "
    "before kept their own edge.",
    "force": "Brain masks were made with {extractor}.",
    "skip": "The scans had been skull-stripped before and kept their own edge.",
}
_FREESURFER = " by mri_coreg of FreeSurfer [freesurfer]"
_TO_TEMPLATE = " by mutual information and then by the correlation of normalized gradients"
_ALONG_EDGES = " by normalized gradient fields [gradients]"
_DERIVATIVES = (
    " Where the derivative datasets {names} held usable brain masks, bias-corrected images or linear "
    "transforms, these replaced the corresponding step."
)
_HARMONIZATION = (
    "Intensities were scaled linearly to [-1, 1]{prepared}, and harmonized by MMH [mmh], a diffusion model "
    "conditioned on normalized image gradients, with deterministic inversion and sampling [ddim]. The model "
    "was {model}, implemented in PyTorch [pytorch] and run on {device}. {stages}"
)
_DENOISED = ", denoised by non-local means [nlm]"
_BY_TISSUE = (
    ", mapped by straight lines between the local medians of cerebrospinal fluid, grey and white matter (of "
    "a Gaussian mixture with prior maps and a slow gain [mixture])"
)
_STAGE1 = "It brings each scan to the unified domain of its sequence (Stage I)."
_STAGE2 = (
    "It brings each scan to the unified domain of its sequence (Stage I) and from there to the style of the "
    "target site {target} (Stage II, fine-tuned with style vectors of the slice encoder {encoder})."
)


@dataclass(frozen=True)
class ModelUsed:
    """What the methods text says of a model.

    Attributes:
        name: Its name with its short digest.
        denoised: Whether noise was filtered out first.
        by_tissue: Whether intensities were mapped through the medians of the tissues.
        target: Site that Stage II was fine-tuned to; None for a model of Stage I.
        encoder: Name of the slice encoder of Stage II.
    """

    name: str
    denoised: bool = False
    by_tissue: bool = False
    target: str | None = None
    encoder: str | None = None


def methods_text(
    *,
    template: str,
    sequences: Sequence[str],
    model: ModelUsed | None,
    device: str,
    versions: Mapping[str, str],
    from_templateflow: bool = True,
    sloppy: bool = False,
    engine: str = "builtin",
    skull_strip: str = "auto",
    no_preproc: bool = False,
    derivatives: Sequence[str] = (),
) -> str:
    """Write the methods text of a run.

    Args:
        template: Template space that was really used.
        sequences: Suffixes that were processed.
        model: What harmonized; None when the run only preprocessed.
        device: Device that the model ran on, such as ``cpu`` or ``NVIDIA H200``.
        versions: Library -> version, of those that were used.
        from_templateflow: Whether TemplateFlow was the source of the template.
        sloppy: Whether the run was in the low-quality mode, which the text then mentions.
        engine: ``builtin``, ``synthstrip`` or ``freesurfer``: program for brain extraction.
        skull_strip: ``auto``, ``force`` or ``skip``.
        no_preproc: Whether the scans were already in template space.
        derivatives: Names of the derivative datasets that files could be taken from.

    Returns:
        Markdown with numbered references, only to what was used.
    """
    source = ", from TemplateFlow [templateflow]," if from_templateflow else ""
    paragraphs = [
        (_IN_TEMPLATE_SPACE if no_preproc else _PREPROCESSING).format(
            sequences=", ".join(sequences),
            version=__version__,
            template=template,
            source=source,
            masks=_MASKS[skull_strip].format(extractor=_EXTRACTORS[engine]),
            aligner=_FREESURFER if engine == "freesurfer" else _TO_TEMPLATE,
            edges="" if engine == "freesurfer" else _ALONG_EDGES,
            derivatives=_DERIVATIVES.format(names=", ".join(derivatives)) if derivatives else "",
        )
    ]
    if model is None:
        paragraphs[0] = paragraphs[0].replace("ed and harmonized", "ed", 1)
    else:
        paragraphs.append(_harmonization(model, device))
    if sloppy:
        paragraphs.append("This was a run in sloppy mode: its results are for testing only.")
    paragraphs.append(f"Software: {', '.join(f'{name} {version}' for name, version in versions.items())}.")
    return number_references("\n\n".join(paragraphs))


def _harmonization(model: ModelUsed, device: str) -> str:
    prepared = _DENOISED if model.denoised else ""
    if model.by_tissue:
        prepared += _BY_TISSUE
    stages = _STAGE1
    if model.target:
        encoder = f"{model.encoder} [biomedclip]" if model.encoder == "biomedclip" else model.encoder
        stages = _STAGE2.format(target=model.target, encoder=encoder)
    return _HARMONIZATION.format(prepared=prepared, model=model.name, device=device, stages=stages)


def number_references(text: str, references: Mapping[str, str] = REFERENCES) -> str:
    """Replace ``[key]`` by numbers in the order of their appearance, and add the list of references.

    Args:
        text: Paragraphs.
        references: Key to reference; only those that the text cites are listed.

    Returns:
        Markdown with the headings Methods and References.

    Examples:
        >>> print(number_references("N4 [n4] was run.", {"n4": "Tustison 2010.", "other": "Not cited."}))
        # Methods
        <BLANKLINE>
        N4 [1] was run.
        <BLANKLINE>
        # References
        <BLANKLINE>
        1. Tustison 2010.
        <BLANKLINE>
    """
    cited = sorted((key for key in references if f"[{key}]" in text), key=lambda key: text.index(f"[{key}]"))
    for number, key in enumerate(cited, start=1):
        text = text.replace(f"[{key}]", f"[{number}]")
    listed = "\n".join(f"{number}. {references[key]}" for number, key in enumerate(cited, start=1))
    return f"# Methods\n\n{text}\n\n# References\n\n{listed}\n"
