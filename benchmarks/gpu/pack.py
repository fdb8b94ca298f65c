"""Make a bundle of anatomies that is small enough to carry.

``python benchmarks/gpu/pack.py ANATOMIES BUNDLE [--mib 44]`` copies prepared anatomies with shares in steps
of 1/15 and textures in steps of 1/16, which halves them: held-out ones first, then label maps, then T1w,
until the bundle is full. Needs NumPy alone.
"""

import argparse
import io
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SHARES, TEXTURE = 15, 8  # levels of the share less one, step of the texture in 1/127


def main(argv: Sequence[str] | None = None) -> int:
    """Write the bundle and say what is in it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("anatomies", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--mib", type=float, default=44.0, help="most that the bundle may be (44)")
    options = parser.parse_args(argv)
    left = int(options.mib * 2**20)
    count = 0
    for path in in_order(options.anatomies):
        content = packed(path)
        if len(content) > left:
            break
        out = options.bundle / path.parent.name / path.name
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
        left -= len(content)
        count += 1
    print(f"{options.bundle}: {count} anatomies, {options.mib - left / 2**20:.1f} MiB")
    return int(not count)


def in_order(folder: Path) -> list[Path]:
    """Files by their importance."""
    recipe = tomllib.loads((ROOT / "recipes" / "embedded.toml").read_text(encoding="utf-8"))
    held_out = set(recipe["simulation"]["held_out"])
    files = sorted(folder.glob("*/*.npz"))
    return sorted(files, key=lambda file: (file.stem not in held_out, file.parent.name, file.name))


def packed(path: Path) -> bytes:
    """An anatomy, coarser in its values."""
    with np.load(path, allow_pickle=False) as file:
        parts = {name: file[name] for name in file.files}
    parts["share"] = np.round(np.round(parts["share"] / 255 * SHARES) * (255 / SHARES)).astype(np.uint8)
    parts["texture"] = (np.round(parts["texture"] / TEXTURE) * TEXTURE).clip(-127, 127).astype(np.int8)
    content = io.BytesIO()
    np.savez_compressed(content, **parts)
    return content.getvalue()


if __name__ == "__main__":
    sys.exit(main())
