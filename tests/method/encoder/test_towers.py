import pytest
import torch

from bids_mmh.method.encoder.towers import TOWERS


@pytest.fixture(scope="module", params=list(TOWERS))
def tower(request):
    return TOWERS[request.param]


@pytest.fixture(scope="module")
def shapes(tower):
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in tower.build().state_dict().items()}


def test_the_architecture_is_the_published_one(tower, shapes):
    keys, projection = {
        "biomedclip": (151, ("head.proj.weight", (512, 768))),
        "clip": (152, ("proj", (768, 512))),
    }[tower.name]
    assert len(shapes) == keys
    assert shapes[projection[0]] == projection[1]
    assert sum(torch.Size(s).numel() for s in shapes.values()) == pytest.approx(86.19e6, rel=1e-3)


def test_a_marker_is_a_key_of_its_tower_alone(tower, shapes):
    assert [other.name for other in TOWERS.values() if other.marker in shapes] == [tower.name]


def test_normalisation_is_that_of_clip(tower):
    assert tower.intake.size == 224
    assert tower.intake.mean == (0.48145466, 0.4578275, 0.40821073)
    assert tower.intake.std == (0.26862954, 0.26130258, 0.27577711)
