import pytest


@pytest.fixture
def anatomies(write_anatomies, tmp_path):
    """A folder of two small anatomies of one kind."""
    return write_anatomies(tmp_path / "anatomies", {"head0": 0.95, "head1": 1.05})
