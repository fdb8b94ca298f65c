import pytest

from bids_mmh.phantom.dataset import make_phantom
from bids_mmh.phantom.head.template_head import template_head


@pytest.fixture(scope="session")
def template():
    return template_head()


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Two subjects at two sites, the first of them at both, coarse so that it is quick."""
    out = tmp_path_factory.mktemp("phantom") / "dataset"
    return make_phantom(out, subjects=2, sites=2, travelling=1, seed=3, resolution=4)
