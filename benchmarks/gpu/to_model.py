"""Turn a checkpoint of benchmarks/gpu/run.py into a model folder of this project.

``python benchmarks/gpu/to_model.py RESULTS MODEL_DIR``, RESULTS being the folder that came back, whose best
checkpoint is taken, or one checkpoint. Needs the whole package, no GPU.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu.report import Report  # noqa: E402
from benchmarks.gpu.training import checkpoints, load  # noqa: E402
from benchmarks.gpu.validation import trained_model  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Write the model folder; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("model", type=Path)
    options = parser.parse_args(argv)
    file = chosen(options.results)
    if file is None:
        print(f"{options.results} holds no checkpoint.", file=sys.stderr)
        return 1
    trained_model(load(file)).save_pretrained(options.model)
    print(f"{options.model}: {file.name}")
    return 0


def chosen(results: Path) -> Path | None:
    """The checkpoint itself, the best of a folder by its validation, or the newest; None without any."""
    if results.is_file():
        return results
    best = Report(results).value("validation", "best")
    if best and (results / best).is_file():
        return results / best
    return checkpoints(results)[-1] if checkpoints(results) else None


if __name__ == "__main__":
    sys.exit(main())
