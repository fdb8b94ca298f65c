from dataclasses import replace

import pytest
import torch

from bids_mmh.errors import BadDataError
from bids_mmh.method.config import PRESETS
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.model_files import STYLES_FILE, model_sha256
from bids_mmh.method.style.slow_fields import BOX
from bids_mmh.method.style.statistics import StyleStatistics
from bids_mmh.method.style.tissue_style import TissueStatistics
from bids_mmh.method.style.tissues import default_priors, priors_on_grid
from bids_mmh.method.target_style import TargetStyles, gather_styles


def style(value, bins=100):
    def full(*shape):
        return torch.full((1, *shape), value)

    tissues = TissueStatistics(
        torch.tensor([[-0.6, 0.2, 0.4, 0.7]]) * value, full(4), full(3), torch.zeros(1, 3, *BOX)
    )
    return StyleStatistics(full(bins), full(), full(), tissues)


@pytest.fixture
def styles():
    return gather_styles(
        ["sub-1", "sub-2", "sub-2", "sub-3"], [0, 0, 1, 0], [style(v) for v in (1.0, 2.0, 3.0, 6.0)]
    )


def test_a_mean_leaves_the_subject_out(styles):
    assert float(styles.mean(0).mean) == pytest.approx(3.0)
    assert float(styles.mean(0, without="sub-3").mean) == pytest.approx(1.5)
    assert float(styles.mean(0, without="sub-9").mean) == pytest.approx(3.0)
    assert styles.mean(0).by_tissue.median.shape == (1, 4)


def test_nobody_else_is_a_sentence(styles):
    with pytest.raises(BadDataError, match="No subject but sub-2 was scanned at the target site"):
        styles.mean(1, without="sub-2")


def test_styles_survive_their_file(styles, tmp_path):
    styles.save(tmp_path)
    again = TargetStyles.load(tmp_path)
    assert again.subjects == styles.subjects
    assert torch.equal(again.sequence, styles.sequence)
    assert torch.equal(again.styles.by_tissue.regional, styles.styles.by_tissue.regional)
    assert TargetStyles.load(tmp_path / "elsewhere") is None
    (tmp_path / STYLES_FILE).write_bytes(b"no styles")
    with pytest.raises(BadDataError, match="is damaged"):
        TargetStyles.load(tmp_path)


def test_a_model_towards_a_site(styles, tmp_path):
    """Its domain is the site's, results leave the subject at hand out, the digest counts the styles."""
    torch.manual_seed(0)
    model = Harmonizer(replace(PRESETS["tiny"], inversion_steps=1, sampling_steps=1)).eval()
    there = model.towards("alpha", styles)
    there.save_pretrained(tmp_path / "site")
    model.save_pretrained(tmp_path / "plain")
    again = Harmonizer.from_pretrained(tmp_path / "site")
    assert again.config.domain == "alpha"
    assert again.records.mean.tolist() == pytest.approx([3.0, 3.0])
    digest = model_sha256(tmp_path / "site")
    (tmp_path / "site" / STYLES_FILE).write_bytes(b"other")
    assert model_sha256(tmp_path / "site") != digest

    priors = priors_on_grid(default_priors()[None], (36, 46, 46))
    mask = priors[:, :1] < 0.9
    volume = torch.where(mask, torch.tensor([-0.6, 0.2, 0.4, 0.7])[priors.argmax(1, keepdim=True)], -1.0)
    sequence = torch.tensor([0])
    results = [again(volume, mask, sequence, subject=subject)[mask] for subject in (None, "sub-9", "sub-3")]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
