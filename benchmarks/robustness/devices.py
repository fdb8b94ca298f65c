"""How far do the results of one scan differ between kinds of processors, numbers of threads and precisions?

``python benchmarks/robustness/devices.py OUT_DIR`` takes a preprocessed scan from the output of
``participant``, harmonizes it by the embedded model in processes that use other instructions
(``ATEN_CPU_CAPABILITY``, and ``ONEDNN_MAX_CPU_ISA`` for convolutions), threads or precisions, and prints how
far each result is from the first. Scaled intensities: a brain reaches from -0.9 to 0.9. A GPU is a row where
there is one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import BidsMmhError
from bids_mmh.group.transfer import on_grid
from bids_mmh.method import precision
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.model_files import embedded_folder
from bids_mmh.training.data.scans import find_scans

BASE = "AVX2, float32, 1 thread"
_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
SETTINGS: dict[str, dict[str, str]] = {
    BASE: _AVX2,
    "the same again": _AVX2,
    "AVX2, float32, 2 threads": {**_AVX2, "THREADS": "2"},
    "no vector instructions, float32": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "AVX-512, float32": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "this machine's best, float32": {},
    "this machine's best, bfloat16": {"BF16": "1"},
}


def main(argv: Sequence[str]) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--sequence", default="T1w")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)  # of a process with a setting
    options = parser.parse_args(argv)
    try:
        scan = find_scans([options.out_dir], [options.sequence])[0]
    except BidsMmhError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.code)
    if options.write:
        np.save(options.write, harmonized(scan))
        return 0
    settings = dict(SETTINGS)
    if torch.cuda.is_available():
        settings |= {"GPU, float32": {"DEVICE": "cuda"}, "GPU, bfloat16": {"DEVICE": "cuda", "BF16": "1"}}
    sys.stdout.write("| setting | largest difference | root mean square |\n|---|---:|---:|\n")
    with tempfile.TemporaryDirectory() as folder:
        file, base = Path(folder) / "result.npy", None
        for name, setting in settings.items():
            command = [sys.executable, __file__, *argv, "--write", str(file)]
            subprocess.run(command, env=os.environ | {"THREADS": "1"} | setting, check=True)
            values = np.load(file)
            base = values if base is None else base
            difference = values - base
            rms = np.sqrt(np.mean(np.square(difference)))
            sys.stdout.write(f"| {name} | {np.abs(difference).max():.1g} | {rms:.1g} |\n")
            sys.stdout.flush()
    return 0


def harmonized(scan: DerivedScan) -> NDArray[np.float32]:
    """The voxels of a scan's brain, harmonized as the environment says; shape (voxels,)."""
    torch.set_num_threads(int(os.environ["THREADS"]))
    native = os.environ.get("BF16") == "1"
    precision.has_native_bf16 = lambda _: native
    model = Harmonizer.from_pretrained(embedded_folder(), os.environ.get("DEVICE", "cpu"))
    volume, mask, index = on_grid(model, scan)
    return np.asarray(model(volume, mask, index)[mask].float().cpu().numpy())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
