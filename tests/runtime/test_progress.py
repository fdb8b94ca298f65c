import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from bids_mmh.runtime.progress import Progress


@pytest.mark.parametrize("done", [True, False])
def test_only_a_session_that_is_done_is_called_finished(caplog, done):
    job = SimpleNamespace(
        node_name="sub_01",
        keys={Path("sub-01_T1w.nii.gz"): "t1w1"},
        session=SimpleNamespace(label="sub-01"),
        is_done=lambda: done,
    )
    with caplog.at_level(logging.INFO):
        Progress([job])(SimpleNamespace(fullname="bids_mmh.sub_01.page"), "end")
    assert ("sub-01: finished (1 of 1 sessions)" in caplog.text) == done
