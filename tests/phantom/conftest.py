import pytest

from bids_mmh.phantom.head.template_head import template_head


@pytest.fixture(scope="session")
def average_head():
    return template_head()
