import numpy as np
import pytest

from bids_mmh.phantom.head.anatomy import Lesion, build_anatomy
from bids_mmh.phantom.head.subject import draw_subject
from bids_mmh.phantom.imaging.relaxation import Tissue


@pytest.fixture(scope="module")
def anatomy(average_head):
    return build_anatomy(average_head, np.random.default_rng(0), atrophy=0.0)


def test_fractions_of_every_voxel_sum_to_one(anatomy):
    assert anatomy.fractions.min() > -1e-5
    np.testing.assert_allclose(anatomy.fractions.sum(axis=0), 1, atol=1e-4)


def test_every_tissue_is_there_in_plausible_volume(anatomy):
    litres = {tissue: anatomy.fractions[tissue].sum() / 1e6 for tissue in Tissue}
    assert 0.5 < litres[Tissue.WHITE_MATTER] < 0.8
    assert 0.7 < litres[Tissue.CORTICAL_GREY_MATTER] < 1.1
    assert 0.02 < litres[Tissue.DEEP_GREY_MATTER] < 0.08
    assert 0.2 < litres[Tissue.CSF] < 0.6
    assert 0.01 < litres[Tissue.VITREOUS] < 0.03
    assert min(litres.values()) > 0


def test_skull_lies_between_brain_and_scalp(anatomy):
    # From the vertex down the middle: skin and fat, bone, fluid or brain.
    column = anatomy.labels[75, 127, :]
    first = {tissue: np.flatnonzero(column == tissue).max(initial=-1) for tissue in Tissue}
    assert first[Tissue.CORTICAL_GREY_MATTER] < first[Tissue.BONE] < first[Tissue.FAT] < first[Tissue.MUSCLE]


def test_atrophy_opens_the_sulci(average_head, anatomy):
    old = build_anatomy(average_head, np.random.default_rng(0), atrophy=1.0)
    more, less = (a.fractions[Tissue.CSF].sum() for a in (old, anatomy))
    assert more > 1.05 * less


def test_age_drives_atrophy_and_subjects_do_not_depend_on_each_other():
    subjects = [draw_subject(0, number) for number in range(60)]
    assert np.corrcoef([p.age for p in subjects], [p.atrophy for p in subjects])[0, 1] > 0.8
    assert {p.sex for p in subjects} == {"F", "M"}
    assert draw_subject(0, 7) == subjects[7]


def test_a_lesion_takes_the_place_of_what_would_be_there(average_head, anatomy):
    radius, cavity = 12.0, Lesion((-30.0, -20.0, 25.0), 12.0, 1.0)
    stroke = build_anatomy(average_head, np.random.default_rng(0), 0.0, [cavity])
    more = (stroke.fractions[Tissue.CSF] - anatomy.fractions[Tissue.CSF]).sum()
    assert 0.6 < more / (4 / 3 * np.pi * radius**3) < 1.05
    np.testing.assert_allclose(stroke.fractions.sum(axis=0), 1, atol=1e-4)
    np.testing.assert_array_equal(stroke.brain, anatomy.brain)
