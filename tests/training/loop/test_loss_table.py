from bids_mmh.training.loop.loss_table import LossTable

TERMS = ("noise", "gradient", "ema")
MEANS = {"total": 1.5, "noise": 1.0, "gradient": 0.25, "ema": 0.25}


def test_loss_table(tmp_path):
    path = tmp_path / "losses.tsv"
    LossTable(path, TERMS).append((0, 0), "train", 1e-4, MEANS)
    LossTable(path, TERMS).append((0, 1), "validation", 12.0, MEANS)
    assert path.read_text().splitlines() == [
        "phase\tstep\tsplit\tlearning_rate\ttotal\tnoise\tgradient\tema",
        "0\t0\ttrain\t0.0001\t1.500000\t1.000000\t0.250000\t0.250000",
        "0\t1\tvalidation\t12\t1.500000\t1.000000\t0.250000\t0.250000",
    ]


def test_forgets_what_will_be_made_again(tmp_path):
    table = LossTable(tmp_path / "losses.tsv", TERMS)
    table.forget_from((0, 0))
    assert not table.path.exists()
    for position in [(0, 8), (0, 9), (0, 10), (1, 0), (1, 1)]:
        table.append(position, "train", 1e-4, MEANS)
    table.forget_from((1, 1))
    kept = [line.split("\t")[:2] for line in table.path.read_text().splitlines()[1:]]
    assert kept == [["0", "8"], ["0", "9"], ["0", "10"], ["1", "0"]]
    table.forget_from((0, 0))
    assert len(table.path.read_text().splitlines()) == 1


def test_half_a_row_of_a_killed_run_is_dropped(tmp_path):
    table = LossTable(tmp_path / "losses.tsv", TERMS)
    for step in (0, 1):
        table.append((0, step), "train", 1e-4, MEANS)
    whole = table.path.read_text()
    table.path.write_text(whole + "0\t")
    table.forget_from((0, 2))
    assert table.path.read_text() == whole
