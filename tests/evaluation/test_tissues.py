import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.metrics.overlap import overlap
from bids_mmh.evaluation.tissues import grey_matter_ratio, segment_tissues
from bids_mmh.method.style.tissues import default_priors, priors_on_grid
from bids_mmh.phantom.head.deformation import template_voxels
from bids_mmh.phantom.head.subject import build_head
from bids_mmh.phantom.head.template_head import template_head
from bids_mmh.phantom.imaging.acquisition import draw_site
from bids_mmh.phantom.imaging.relaxation import Tissue
from bids_mmh.phantom.imaging.scanner import add_noise, magnetisation
from bids_mmh.preprocess.grid import model_grid

GRID = model_grid(2)
LABELS = {Tissue.CSF: 1, Tissue.CORTICAL_GREY_MATTER: 2, Tissue.DEEP_GREY_MATTER: 2, Tissue.WHITE_MATTER: 3}
BOUNDS = {"CSF": 0.80, "GM": 0.84, "WM": 0.88}


@pytest.fixture(scope="module")
def brain():
    """A brain aligned linearly to the template, at 2 mm: mask, true labels and scans of two sites."""
    head = build_head(template_head(), seed=5, number=3)
    where = template_voxels(GRID.shape, GRID.affine, head.displacement)
    mask = map_coordinates(head.anatomy.brain, where, order=0) > 0
    tissue = map_coordinates(head.anatomy.labels, where, order=0)
    truth = np.select([tissue == label for label in LABELS], list(LABELS.values()), 0).astype(np.uint8) * mask
    scans = {}
    for sequence, number in (("T1w", 1), ("T2w", 0)):
        site = draw_site(5, number)
        protocol = site.protocols[sequence]
        signal = gaussian_filter(magnetisation(head.anatomy, protocol, site.field_strength), 0.8)
        sampled = map_coordinates(signal, where, order=1)
        noise = protocol.noise * protocol.brightness / np.sqrt(8)  # averaged over 2 x 2 x 2 voxels
        scans[sequence] = add_noise(sampled, noise, np.random.default_rng(0))
    return mask, truth, scans


@pytest.fixture(scope="module")
def segmented(brain):
    mask, _, scans = brain
    return {sequence: segment_tissues(scan, mask) for sequence, scan in scans.items()}


@pytest.mark.parametrize("sequence", ["T1w", "T2w"])
def test_tissues_lie_on_the_truth(brain, segmented, sequence):
    mask, truth, _ = brain
    found = segmented[sequence]
    assert np.array_equal(found > 0, mask)
    dice = {name: agreement.dice for name, agreement in overlap(truth, found).items()}
    assert all(dice[name] >= bound for name, bound in BOUNDS.items()), dice
    assert grey_matter_ratio(found) == pytest.approx(grey_matter_ratio(truth), abs=0.05)


def test_the_image_counts_beside_the_priors(brain, segmented):
    mask, truth, _ = brain
    priors = priors_on_grid(default_priors()[None], mask.shape)[0].numpy()
    by_priors = np.where(mask, np.array([1, 2, 2, 3])[priors.argmax(axis=0)], 0).astype(np.uint8)
    assert overlap(truth, segmented["T1w"])["GM"].dice > overlap(truth, by_priors)["GM"].dice + 0.05


def test_a_slow_gain_moves_no_border(brain, segmented):
    mask, truth, scans = brain
    x, y, z = np.ix_(*[np.linspace(-1, 1, side) for side in mask.shape])
    gain = np.exp(0.15 * (x - y * y + 0.7 * z))
    before, after = segmented["T1w"], segment_tissues(scans["T1w"] * gain, mask)
    agreement = overlap(before, after)
    assert min(agreement[tissue].dice for tissue in ("GM", "WM")) > 0.95  # .85 with no gain in the mixture
    assert overlap(truth, after)["GM"].dice > overlap(truth, before)["GM"].dice - 0.01


def test_intensity_units_do_not_matter(brain, segmented):
    mask, _, scans = brain
    other = segment_tissues(0.003 * scans["T1w"] - 7, mask)
    assert (segmented["T1w"] != other).mean() < 1e-4


def test_bad_input_is_refused():
    volume, mask = np.zeros(GRID.shape), np.ones(GRID.shape)
    with pytest.raises(BadDataError, match="flat"):
        segment_tissues(volume, mask)
    with pytest.raises(BadDataError, match="one grid"):
        segment_tissues(volume[1:], mask)
    with pytest.raises(BadDataError, match="template space"):
        segment_tissues(volume[:40], mask[:40])
    with pytest.raises(BadDataError, match="without any tissue"):
        grey_matter_ratio(np.zeros((2, 2, 2), np.uint8))
