import pytest


@pytest.fixture(scope="module")
def reference(load_benchmark):
    return load_benchmark("speed/reference")


def test_operations_are_counted_without_being_done(reference):
    coarse, fine = reference.stock_tflop(4.0), reference.stock_tflop(2.0)
    voxels = [side[0] * side[1] * side[2] for side in map(reference.padded, ((36, 46, 46), (72, 92, 92)))]
    # Convolutions grow with the voxels, attention with their square.
    assert voxels[1] / voxels[0] < fine / coarse < (voxels[1] / voxels[0]) ** 2


def test_a_row_says_what_was_measured_and_what_follows(reference):
    cost = reference.Cost(200.0, 3.2, 1.5)
    assert reference.Row("a", cost).cells(10.0) == ("a", "200", "3.2", "1.50", "20")
    assert reference.Row("a", cost, measured=False).cells(10.0)[1:3] == ("200 (extrapolated)", "")


def test_controls_are_measured_on_the_same_volume(reference, monkeypatch):
    from bids_mmh.preprocess.grid import model_grid

    whole = reference.volume
    monkeypatch.setattr(reference, "volume", lambda _: whole(4.0))
    assert whole(4.0).values.shape == model_grid(4.0).shape
    for name in ("z-score", "Nyúl", reference.N4):
        assert reference.measure(name).cpu_s >= 0
