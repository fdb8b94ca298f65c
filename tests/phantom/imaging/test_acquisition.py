from bids_mmh.phantom.imaging.acquisition import draw_site, reference_site
from bids_mmh.phantom.imaging.relaxation import Tissue, relaxation


def contrast(site):
    sequence = site.protocols["T1w"].sequence
    white, grey = (
        sequence.signal(relaxation(t, site.field_strength))
        for t in (Tissue.WHITE_MATTER, Tissue.CORTICAL_GREY_MATTER)
    )
    return white / grey


def test_a_site_depends_on_its_seed_and_number_alone():
    assert draw_site(5, 2) == draw_site(5, 2)
    assert draw_site(5, 2) != draw_site(6, 2)


def test_sites_differ_in_what_harmonization_has_to_undo():
    sites = [draw_site(0, number) for number in range(4)]
    assert {site.field_strength for site in sites} == {1.5, 3.0}
    assert len({site.protocols["T1w"].orientation for site in sites}) == 4
    assert len({site.dtype for site in sites}) > 2
    for attribute in ("noise", "blur", "brightness"):
        assert len({getattr(site.protocols["T1w"], attribute) for site in sites}) == 4
    contrasts = [contrast(site) for site in sites]
    assert max(contrasts) > 1.1 * min(contrasts)


def test_white_matter_is_brighter_than_cortex_on_t1w_and_darker_on_t2w():
    for site in [reference_site(), *(draw_site(1, number) for number in range(6))]:
        assert contrast(site) > 1.1
        signals = {
            t: site.protocols["T2w"].sequence.signal(relaxation(t, site.field_strength)) for t in Tissue
        }
        assert signals[Tissue.WHITE_MATTER] < signals[Tissue.CORTICAL_GREY_MATTER] < signals[Tissue.CSF]
