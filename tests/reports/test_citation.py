import re

from bids_mmh.reports.citation import ModelUsed, methods_text

ARGUMENTS = {
    "template": "MNI152NLin2009cAsym",
    "sequences": ("T1w", "T2w"),
    "model": ModelUsed("embedded (1a2b3c4d)", denoised=True, by_tissue=True),
    "device": "cpu",
    "versions": {"SimpleITK": "2.5.7"},
}


def test_every_reference_is_cited_and_numbered_in_order():
    text = methods_text(**ARGUMENTS)
    body, references = text.split("# References")
    cited = [int(number) for number in re.findall(r"\[(\d+)\]", body)]
    assert cited == sorted(cited) == list(range(1, len(cited) + 1))
    listed = [int(number) for number in re.findall(r"^(\d+)\. ", references, re.MULTILINE)]
    assert listed == cited
    assert not re.search(r"\[[a-z_]+\]|[{}]", text)
    for fact in (
        "MNI152NLin2009cAsym",
        "T1w, T2w",
        "embedded (1a2b3c4d)",
        "implemented in PyTorch",
        "run on cpu",
        "SimpleITK 2.5.7",
    ):
        assert fact in body


def test_only_what_was_done_is_told():
    text = methods_text(**ARGUMENTS | {"model": None}, from_templateflow=False)
    for absent in ("harmonized with", "MMH [", "PyTorch", "TemplateFlow", "diffusion", "non-local", "median"):
        assert absent not in text
    assert "N4" in text
    assert "sloppy" not in text
    assert "for testing only" in methods_text(**ARGUMENTS, sloppy=True)


def test_the_text_says_how_brains_were_found():
    plain = methods_text(**ARGUMENTS)
    assert "network, which follows SynthStrip [" in plain
    assert "deepbet [" in plain
    assert "kept their own edge" in plain
    strip = methods_text(**ARGUMENTS, engine="synthstrip", skull_strip="force")
    assert "masks were made with SynthStrip [" in strip
    assert "deepbet [" not in strip
    assert "made with deepbet [" in methods_text(**ARGUMENTS, engine="deepbet")
    surfer = methods_text(**ARGUMENTS, engine="freesurfer", derivatives=("masks", "fmriprep"))
    assert "mri_coreg of FreeSurfer [" in surfer
    assert "datasets masks, fmriprep held usable" in surfer
    ready = methods_text(**ARGUMENTS, no_preproc=True, skull_strip="skip")
    assert "already, were prepared and harmonized" in ready
    assert "neither corrected" in ready
    assert "N4" not in ready
    for text in (plain, strip, surfer, ready):
        assert not re.search(r"\[[a-z_]+\]|[{}]", text)


def test_the_text_says_where_the_model_brings_scans():
    first = methods_text(**ARGUMENTS)
    assert "unified domain" in first
    assert "Stage II" not in first
    second = methods_text(**ARGUMENTS | {"model": ModelUsed("a", target="siteA", encoder="embedded")})
    assert (
        "target site siteA (Stage II, fine-tuned with style vectors of the slice encoder embedded)" in second
    )
    assert "BiomedCLIP" not in second
    cited = methods_text(**ARGUMENTS | {"model": ModelUsed("a", target="siteA", encoder="biomedclip")})
    assert re.search(r"slice encoder biomedclip \[\d+\]\)", cited)
    assert "BiomedCLIP: a multimodal" in cited


def test_the_text_says_what_was_done_before_the_network():
    body = methods_text(**ARGUMENTS).split("# References")[0]
    assert re.search(
        r"denoised by non-local means \[\d+\], mapped by straight lines .* slow gain \[\d+\]", body
    )
    assert "correlation of normalized gradients, the others rigidly to that scan by normalized" in body
    plain = methods_text(**ARGUMENTS | {"model": ModelUsed("a", by_tissue=True)})
    assert "non-local" not in plain
    assert "slow gain" in plain
    assert "scaled linearly to [-1, 1], and harmonized" in methods_text(
        **ARGUMENTS | {"model": ModelUsed("a")}
    )
