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
