import pytest

from bids_mmh.phantom.imaging.relaxation import Tissue, relaxation


@pytest.mark.parametrize("field", [1.5, 3.0])
def test_order_of_brain_tissues(field):
    white, deep, cortex, fluid = (
        relaxation(t, field)
        for t in (
            Tissue.WHITE_MATTER,
            Tissue.DEEP_GREY_MATTER,
            Tissue.CORTICAL_GREY_MATTER,
            Tissue.CSF,
        )
    )
    assert white.t1 < deep.t1 < cortex.t1 < fluid.t1
    assert white.t2 < deep.t2 < cortex.t2 < fluid.t2
    assert white.pd < deep.pd < cortex.pd < fluid.pd


@pytest.mark.parametrize("tissue", [t for t in Tissue if t is not Tissue.AIR])
def test_t1_grows_with_field_strength(tissue):
    assert relaxation(tissue, 3.0).t1 > relaxation(tissue, 1.5).t1


def test_air_gives_no_signal_and_other_fields_are_unknown():
    assert relaxation(Tissue.AIR, 3.0).pd == 0
    with pytest.raises(KeyError):
        relaxation(Tissue.CSF, 7.0)
