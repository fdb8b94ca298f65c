"""What a run costs before any scan is processed: a study that is done already, and the imports.

``python benchmarks/speed/startup.py [--sessions 500]`` prints Markdown. The study has small files: raw scans
of 4 x 4 x 4 voxels, and beside each the sidecars of a finished T1w and T2w. Imports are those of the process
that makes the graph of a session, and of a worker that only preprocesses; ``--importtime`` lists the dearest.
Bytecode is compiled before, as it is in an installed package.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import nibabel as nib
import numpy as np
from group_scale import sidecar
from session import PROGRAM, measured

from bids_mmh import __version__
from bids_mmh.derivatives.jobs import ScanJob
from bids_mmh.derivatives.models import resolve_model
from bids_mmh.derivatives.sidecar import GeneratedBy, Sidecar
from bids_mmh.participant.setup import find_jobs, write_dataset
from bids_mmh.preprocess.template import NILEARN_SPACE, find_template
from bids_mmh.settings import EMBEDDED_MODEL, Settings

# What a process imports before it computes anything, by what it is there for.
PROCESSES = {
    "the process that makes the graph": (
        "bids_mmh.participant.run, bids_mmh.participant.setup, bids_mmh.participant.workflow"
    ),
    "a worker that preprocesses": (
        "bids_mmh.preprocess.interfaces, bids_mmh.preprocess.pipeline, SimpleITK, nibabel, scipy.ndimage"
    ),
}


def write_study(root: Path, sessions: int) -> Settings:
    """Write a raw dataset, and what a run on all of it has left.

    Args:
        root: Folder for ``raw`` and ``out``.
        sessions: Number of subjects, each with a T1w and a T2w.

    Returns:
        The options of that run.
    """
    voxels = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    rows = ["participant_id\tsite"]
    for number in range(sessions):
        subject = f"sub-{number:05d}"
        rows.append(f"{subject}\tsite{number % 20:02d}")
        folder = root / "raw" / subject / "anat"
        folder.mkdir(parents=True)
        for sequence in ("T1w", "T2w"):
            nib.save(voxels, folder / f"{subject}_{sequence}.nii.gz")
    (root / "raw" / "participants.tsv").write_text("\n".join(rows) + "\n")
    (root / "raw" / "dataset_description.json").write_text('{"Name": "small files", "BIDSVersion": "1.10.0"}')
    settings = Settings(
        bids_dir=root / "raw",
        output_dir=root / "out",
        work_dir=root / "work",
        analysis_level="participant",
        template=NILEARN_SPACE,
    )
    model = resolve_model(EMBEDDED_MODEL)
    jobs = find_jobs(
        settings, model, find_template(NILEARN_SPACE, root / "work" / "templates"), sites_file=None
    )
    write_dataset(settings, model)
    for job in jobs:
        job.page.write_text("<p>page of a session</p>")
        for scan in job.scans:
            _finish(scan)
    return settings


def _finish(job: ScanJob) -> None:
    """Leave what a finished scan has: empty images, and whole sidecars."""
    fields = Sidecar.from_content(
        sidecar(np.random.default_rng(0), 0.0, job.scan.site or "", job.scan.sequence)
    )
    fields = fields.with_fields(
        generated_by=GeneratedBy(name="bids-mmh", version=__version__),
        raw_fingerprint=job.raw_fingerprint,
        anchor_fingerprint=job.anchor_fingerprint,
    )
    for output in ("mni_preproc", "native_preproc", "mni_harmonized", "native_harmonized"):
        own = fields.with_fields(configuration_hash=job.configuration_hash(output))
        own.write(job.sidecar(output), output)
    for path in job.expected():
        path.touch()


def nothing_to_do(settings: Settings, *, validate: bool = False) -> dict[str, float]:
    """Measure a run on a study that is done."""
    folders = [str(settings.bids_dir), str(settings.output_dir), "participant", "-w", str(settings.work_dir)]
    options = ["--template", settings.template, *([] if validate else ["--skip-bids-validation"])]
    return measured([*PROGRAM, *folders, *options])


def imports(modules: str) -> dict[str, float]:
    """Measure a process that imports some modules and ends."""
    return measured([sys.executable, "-c", f"import {modules}"])


def dearest(modules: str, count: int = 12) -> list[tuple[float, str]]:
    """Seconds of the modules that take longest to import, each without what it imports in turn."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {modules}"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line]
    own = [(int(first) / 1e6, name.strip()) for first, _, name in rows if first.strip().isdigit()]
    return sorted(own, reverse=True)[:count]


def measure(sessions: int) -> dict[str, dict[str, float]]:
    """Measure everything; bytecode is compiled before, as it is in an installed package.

    Args:
        sessions: of the study that is done.
    """
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["PYTHONPYCACHEPREFIX"] = f"{scratch}/bytecode"
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        settings = write_study(Path(scratch), sessions)
        nothing_to_do(settings)
        rows = {
            f"nothing to do in {sessions} sessions": nothing_to_do(settings),
            "the same with the BIDS validator": nothing_to_do(settings, validate=True),
        }
        for name, modules in PROCESSES.items():
            imports(modules)
            rows[f"imports of {name}"] = imports(modules)
    return rows


def main(argv: Sequence[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--importtime", action="store_true", help="list the dearest imports too")
    options = parser.parse_args(argv)
    rows = measure(options.sessions)
    machine = platform.processor() or platform.machine()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {os.cpu_count()} cores\n")
    print("| what | CPU s | peak GB |\n|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['cpu_s']:.1f} | {row['peak_gb']:.2f} |")
    if options.importtime:
        for name, modules in PROCESSES.items():
            print(f"\n{name}:")
            print("\n".join(f"{seconds:7.3f} s {module}" for seconds, module in dearest(modules)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
