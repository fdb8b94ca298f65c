import logging

import pytest


@pytest.fixture(autouse=True)
def no_handler_left_behind():
    """A command that a test calls logs to the stream of that test, which is closed afterwards."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in [one for one in root.handlers if one not in before]:
        root.removeHandler(handler)


@pytest.fixture(scope="session")
def template_tissues():
    """The template's most probable tissue in each voxel of a grid: 0 fluid, 1 grey, 2 white matter."""
    import numpy as np

    from bids_mmh.method.style.tissues import default_priors, priors_on_grid

    def most_probable(shape):
        return np.array([0, 1, 1, 2])[priors_on_grid(default_priors()[None], shape)[0].argmax(0)]

    return most_probable
