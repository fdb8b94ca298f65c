"""Keep of BiomedCLIP's checkpoint the vision tower alone, which is what an image needs.

usage: vision_tower.py FOLDER    where biomedclip.bin, if any, becomes biomedclip.safetensors
"""

import sys
from pathlib import Path

CHECKPOINT, TOWER = "biomedclip.bin", "biomedclip.safetensors"


def main(folder: Path) -> None:
    """Write the tower's weights and remove the checkpoint; without a checkpoint do nothing."""
    checkpoint = folder / CHECKPOINT
    if not checkpoint.is_file():
        return
    from safetensors.torch import save_file
    from torch import load

    state = load(checkpoint, map_location="cpu", weights_only=True)
    tower = {key: value.contiguous() for key, value in state.items() if key.startswith("visual.")}
    if not tower:
        raise SystemExit(f"{checkpoint} has no weights of a vision tower.")
    save_file(tower, folder / TOWER)
    checkpoint.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
