from bids_mmh.training.seeds import draw_seed


def test_draw_seeds_differ_by_position():
    positions = [
        (seed, phase, step, part)
        for seed in (0, 1)
        for phase in (0, 1)
        for step in (0, 1, 2)
        for part in (0, 1)
    ]
    assert len({draw_seed(*position) for position in positions}) == len(positions)
    assert draw_seed(0, 1, 2) == draw_seed(0, 1, 2)
