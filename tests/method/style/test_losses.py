import math

import numpy as np
import pytest
import torch
from torch import nn

from bids_mmh.method.style.losses import (
    Separation,
    consistency_loss,
    contrastive_loss,
    displacement_loss,
    separation,
)

SITES = ["east", "west", "east", "west", "east", "west"]
PEOPLE = [1, 1, 2, 2, 3, 3]


@pytest.fixture
def by_site(rng):
    """Style vectors that say the site and hardly the subject."""
    sites = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]).repeat(3, 1)
    return 2 * sites + 0.1 * torch.randn(6, 4, generator=rng)


@pytest.fixture
def by_subject(rng):
    """Style vectors that say the subject and hardly the site."""
    return 2 * torch.eye(4)[[0, 0, 1, 1, 2, 2]] + 0.1 * torch.randn(6, 4, generator=rng)


def test_equation_19(rng):
    target, output = torch.randn(2, 5, 7, generator=rng)
    for loss, a, b in zip(
        displacement_loss(target, output), target.double().numpy(), output.double().numpy(), strict=True
    ):
        length = abs(np.sqrt((a**2).sum()) - np.sqrt((b**2).sum()))
        direction = 1 - (a @ b) / (np.sqrt(a @ a) * np.sqrt(b @ b))
        assert float(loss) == pytest.approx(length + direction, abs=1e-5)


def test_equal_styles_cost_nothing_and_opposite_ones_cost_two(rng):
    style = torch.randn(3, 6, generator=rng)
    assert torch.allclose(displacement_loss(style, style), torch.zeros(3), atol=1e-5)
    assert torch.allclose(displacement_loss(style, -style), torch.full((3,), 2.0), atol=1e-5)
    assert torch.allclose(displacement_loss(style, 3 * style), 2 * style.norm(dim=1), atol=1e-5)


@pytest.mark.parametrize("loss", [displacement_loss, consistency_loss])
def test_losses_are_safe_at_zero(loss):
    zero = torch.zeros(2, 4, requires_grad=True)
    loss(torch.ones(2, 4), zero).sum().backward()
    assert zero.grad.isfinite().all()
    assert zero.grad.abs().max() < 1e4


def test_no_style_matches_no_direction():
    assert displacement_loss(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 1.0


def test_consistency_is_the_mean_absolute_difference():
    a, b = torch.tensor([[1.0, -2.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 3.0]])
    assert consistency_loss(a, b).tolist() == [2.5, 1.5]


def test_contrast_by_its_formula(by_site):
    unit = by_site.double().numpy()
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    terms = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        partition = sum(math.exp(unit[i] @ unit[j] / 0.2) for j in others)
        partners = [j for j in others if SITES[j] == SITES[i]]
        terms.append(-np.mean([unit[i] @ unit[j] / 0.2 - math.log(partition) for j in partners]))
    assert contrastive_loss(by_site, SITES, temperature=0.2).item() == pytest.approx(np.mean(terms), abs=1e-4)


def test_contrast_prefers_acquisitions_to_subjects(by_site, by_subject):
    assert contrastive_loss(by_site, SITES) < contrastive_loss(by_subject, SITES) - 1


def test_a_scan_without_partner_is_only_a_negative(by_site):
    sites = [*SITES[:5], "north"]
    assert contrastive_loss(by_site, sites).isfinite()


@pytest.mark.parametrize("sites", [["a", "b", "c"], ["a", "a", "a"]])
def test_contrast_without_a_contrast_is_refused(sites):
    with pytest.raises(ValueError, match="needs two scans of one acquisition and one of another"):
        contrastive_loss(torch.ones(3, 2), sites)


def test_a_constant_aggregator_is_caught(rng):
    styles = torch.zeros(6, 4, requires_grad=True)  # Ψ(I) − Ψ(I′) of a Ψ that always says the same
    loss = contrastive_loss(styles, SITES)
    assert loss.item() == pytest.approx(math.log(5), abs=1e-4)
    loss.backward()
    assert styles.grad.isfinite().all()
    assert separation(styles, SITES, PEOPLE).collapsed
    almost = 1e-5 * torch.randn(6, 4, generator=rng)
    assert separation(almost, SITES, PEOPLE).collapsed


def test_the_guard_opens_a_collapsing_aggregator(rng):
    """Eq. 19 alone may shrink every style to nothing; with the contrast beside it the styles stay apart."""
    scans = torch.randn(6, 8, generator=rng)
    torch.manual_seed(0)
    layer = nn.Linear(8, 4, bias=False)
    nn.init.constant_(layer.weight, 1e-4)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    assert separation(layer(scans), SITES, PEOPLE).collapsed
    for _ in range(60):
        optimizer.zero_grad()
        contrastive_loss(layer(scans), SITES).backward()
        optimizer.step()
    assert not separation(layer(scans), SITES, PEOPLE).collapsed


def test_separation_distinguishes_style_from_subject(by_site, by_subject):
    good, bad = (separation(vectors, SITES, PEOPLE) for vectors in (by_site, by_subject))
    assert good.ratio > 10
    assert not good.collapsed
    assert bad.ratio < 0.1
    assert bad.collapsed
    assert good.norm == pytest.approx(float(by_site.norm(dim=1).mean()))


def test_separation_by_hand():
    vectors = torch.tensor([[1.0, 0], [0, 1.0], [1.0, 1.0]])  # subject 1 at a and b, subject 2 at a
    measured = separation(vectors, ["a", "b", "a"], [1, 1, 2])
    assert measured.between == pytest.approx(1.0, abs=1e-5)
    assert measured.within == pytest.approx(1 - 0.5**0.5, abs=1e-5)
    assert measured.ratio == pytest.approx(1 / (1 - 0.5**0.5), abs=1e-4)


def test_without_travellers_all_pairs_of_sites_count(by_site):
    measured = separation(by_site, SITES, range(6))
    assert measured.ratio > 10


@pytest.mark.parametrize(("sites", "subjects"), [(["a", "a"], [1, 2]), (["a", "b"], [1, 2])])
def test_separation_needs_something_to_compare(sites, subjects):
    with pytest.raises(ValueError, match="needs two acquisitions and two subjects"):
        separation(torch.eye(2), sites, subjects)


def test_perfect_vectors_have_a_large_ratio():
    assert Separation(between=1.0, within=0.0, norm=1.0).ratio > 1e6
