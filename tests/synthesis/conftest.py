import numpy as np
import pytest

from bids_mmh.synthesis.regions import Region


@pytest.fixture
def anatomies(tmp_path):
    """A folder of two small anatomies of one kind: shells of fluid, cortex, white matter, putamen."""
    folder = tmp_path / "anatomies"
    (folder / "labels").mkdir(parents=True)
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in (36, 46, 46)), indexing="ij")
    for number, size in enumerate((0.95, 1.05)):
        radius = np.sqrt(sum(axis**2 for axis in axes)) / size
        first = np.full(radius.shape, int(Region.CSF), dtype=np.uint8)
        for limit, region in ((0.8, Region.CORTEX), (0.65, Region.WHITE), (0.2, Region.PUTAMEN)):
            first[radius < limit] = region
        np.savez(
            folder / "labels" / f"head{number}.npz",
            first=first,
            second=np.roll(first, 1, axis=0),
            share=np.full(radius.shape, 230, dtype=np.uint8),
            texture=np.zeros((1, 1, 1), dtype=np.int8),
            mask=radius < 0.9,
        )
    return folder
