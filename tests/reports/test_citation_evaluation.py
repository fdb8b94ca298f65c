import re
from dataclasses import replace

from bids_mmh.reports.citation_evaluation import Evaluated, evaluation_text

T1W = Evaluated("T1w", 20, 10, 3, 8, "siteA", "built-in", True, volumes=True, combat=True)


def test_every_reference_is_cited_and_numbered_in_order():
    body, references = evaluation_text([T1W, replace(T1W, sequence="T2w")], 5).split("# References")
    cited = [int(number) for number in re.findall(r"\[(\d+)\]", body)]
    assert cited == [int(number) for number in re.findall(r"^(\d+)\. ", references, re.MULTILINE)]
    assert cited == list(range(1, len(cited) + 1))
    assert not re.search(r"\[[a-z_]+\]|[{}]", body)
    for fact in (
        "20 T1w scans of 10 subjects at 3 sites and 20 T2w",
        "(5 subjects)",
        "8 T1w pairs, 8 T2w pairs",
        "raw scan at siteA",
        "neuroCombat 0.",
    ):
        assert fact in body
    assert "kxj037" in references


def test_only_what_was_done_is_in_the_text():
    text = evaluation_text(
        [replace(T1W, pairs=0, age=False, sites=1, volumes=False, combat=False, segmenter="SynthSeg")], 0
    )
    for absent in ("Wilcoxon", "ridge", "ResNet", "Ashburner", "(0 subjects)", "ComBat", "blocks"):
        assert absent not in text
    assert "SynthSeg" in text
    among = evaluation_text([replace(T1W, target=None)], 0)
    assert "scan at another site after the same method" in among
