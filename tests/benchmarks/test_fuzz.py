"""A sample of the damaged files, and that the benchmark finds what is wrong."""

import numpy as np
import pytest

SEED = 3
SCALE = slice(112, 120)  # scl_slope and scl_inter of NIfTI-1


@pytest.fixture(scope="module")
def fuzz(load_benchmark):
    return load_benchmark("robustness/fuzz")


@pytest.mark.timeout(300)
def test_a_sample_of_damaged_files_is_read_or_refused(fuzz):
    findings = list(fuzz.fuzz(range(55), seed=SEED, processes=1))
    assert [one for one in findings if one.verdict not in ("read", "refused")] == []
    assert {one.verdict for one in findings} == {"read", "refused"}
    assert {one.kind for one in findings} == {kind.name for kind in fuzz.KINDS}


def with_another_scale(fuzz) -> int:
    """A case whose damage is in the scale factors alone."""
    kind = fuzz.KINDS[0]
    whole = kind.whole()
    for case in range(0, 20_000, len(fuzz.KINDS) + 3):
        content = fuzz.damaged(kind, np.random.default_rng([SEED, case]))
        if len(content) == len(whole) and content[SCALE] != whole[SCALE]:
            rest = content[: SCALE.start] + whole[SCALE] + content[SCALE.stop :]
            slope, inter = np.abs(np.frombuffer(content[SCALE], "<f4"))
            if rest == whole and 0.01 < slope < 10 and inter < 100:
                return case
    raise AssertionError("no such case")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", ["crash", "hang", "memory", "error", "wrong"])
def test_planted_bugs_are_found(fuzz, bug, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 8.0)
    (finding,) = fuzz.fuzz([with_another_scale(fuzz)], seed=SEED, processes=1, bug=bug)
    assert finding.verdict == bug, finding
