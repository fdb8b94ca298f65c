"""When the sessions of a run are finished, and what many sessions cost the process that hands them out.

``python benchmarks/speed/order_of_work.py run [--sessions N] [--before REF]`` makes a phantom study and runs
``participant`` on it, with the code of a Git revision too where one is named, and prints when the first and
the last session were finished and how many at half of the time.

``python benchmarks/speed/order_of_work.py scale [--sessions N ...]`` hands out sessions whose steps take no
time, and prints seconds and memory of making their graphs, and the same for one graph of all sessions.
"""

import argparse
import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bids_mmh.derivatives.jobs import SessionJob
    from bids_mmh.runtime.plugins.session_plugin import SessionPlugin

ROOT = Path(__file__).parents[2]
CHILD = [sys.executable, __file__, "one"]


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--sessions", type=int, default=12)
    run.add_argument("--resolution", type=float, default=4.0, help="mm; 1 for the embedded model")
    run.add_argument("--nprocs", type=int, default=2)
    run.add_argument("--before", help="Git revision to compare with")
    run.add_argument("--profile", action="store_true", help="draw the run of this code, see --keep")
    run.add_argument("--keep", type=Path, help="folder for data, results and logs (default: a temporary one)")
    scale = commands.add_parser("scale")
    scale.add_argument("--sessions", type=int, nargs="+", default=[100, 1000, 4000])
    scale.add_argument("--one-graph", type=int, nargs="*", default=[50, 100, 200])
    one = commands.add_parser("one")  # each in a process of its own, whose memory is its own
    one.add_argument("kind", choices=["sessions", "graph"])
    one.add_argument("count", type=int)
    options = parser.parse_args()
    if options.command == "one":
        print(json.dumps(_measure(options.kind, options.count)))
        return
    print(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}\n")
    if options.command == "run":
        with _folder(options.keep) as folder:
            _print_runs(folder, options)
    else:
        _print_scale(options.sessions, options.one_graph)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


# When sessions are finished


def _print_runs(folder: Path, options: argparse.Namespace) -> None:
    from bids_mmh.phantom.dataset import make_phantom

    raw = folder / "raw"
    if not raw.exists():
        make_phantom(raw, subjects=options.sessions, sites=2, resolution=options.resolution, truth=False)
        if options.resolution > 1:
            _strip(raw)
    print(
        "| code | sessions | first done at s | last done at s | done at half of the time | CPU s a session |"
        "\n|---|---|---|---|---|---|"
    )
    if options.before:
        with _checkout(folder, options.before) as code:
            _print_run(options.before, code, folder, options)
    _print_run("this", ROOT, folder, options)


@contextmanager
def _checkout(folder: Path, revision: str) -> Iterator[Path]:
    place = folder / f"code-{revision}"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--detach", str(place), revision], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run([*git, "remove", "--force", str(place)], check=True, capture_output=True)


def _print_run(name: str, code: Path, folder: Path, options: argparse.Namespace) -> None:
    out = folder / f"out-{name}"
    command = [sys.executable, "-m", "bids_mmh", str(folder / "raw"), str(out), "participant"]
    command += ["-w", str(folder / f"work-{name}"), "--nprocs", str(options.nprocs), "--omp-nthreads", "1"]
    command += ["--skip-bids-validation", "--device", "cpu", "--template", "MNI152NLin2009aSym"]
    if options.resolution > 1:
        command += ["--sloppy", "--skull-strip", "skip", "--model", str(_small_model(folder))]
    if options.profile and code == ROOT:
        command.append("--profile")
    _adopt_orphans()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.time()
    with (folder / f"{name}.txt").open("w") as said:
        environment = os.environ | {"PYTHONPATH": str(code)}
        done = subprocess.run(command, cwd=folder, env=environment, stderr=said, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: see {said.name}")
    _wait_for_orphans()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    ends = sorted(page.stat().st_mtime - start for page in out.glob("sub-*.html"))
    half = sum(end <= ends[-1] / 2 for end in ends) / len(ends)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"| {name} | {len(ends)} | {ends[0]:.0f} | {ends[-1]:.0f} | {half:.0%} | {cpu / len(ends):.1f} |",
        flush=True,
    )


def _adopt_orphans() -> None:
    """Make this process the parent of what its children leave: worker processes count, too (Linux)."""
    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _wait_for_orphans() -> None:
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _strip(raw: Path) -> None:
    """Leave a ball of each head, so that no brain has to be found and a session takes a few seconds."""
    import nibabel as nib
    import numpy as np
    from scipy import ndimage

    for path in raw.glob("sub-*/**/*.nii.gz"):
        image = nib.load(path)
        values = np.asanyarray(image.dataobj).astype(np.float32)
        middle = np.array(ndimage.center_of_mass(values))
        places = np.moveaxis(np.indices(values.shape), 0, -1)
        values[np.linalg.norm((places - middle) * image.header.get_zooms(), axis=-1) > 65] = 0
        nib.save(nib.Nifti1Image(values, image.affine), path)


def _small_model(folder: Path) -> Path:
    """A model with random weights on a grid of 4 mm."""
    place = folder / "model"
    if not place.exists():
        import torch

        from bids_mmh.method.config import PRESETS
        from bids_mmh.method.harmonizer import Harmonizer

        torch.manual_seed(0)
        Harmonizer(PRESETS["tiny"]).save_pretrained(place)
    return place


# What many sessions cost


def _print_scale(sessions: list[int], one_graph: list[int]) -> None:
    print(
        "| how | sessions | CPU s | ms a session | most sessions in the graph | peak MB | of it for graphs |"
        "\n|---|---|---|---|---|---|---|"
    )
    for kind, counts in (("sessions", sessions), ("graph", one_graph)):
        for count in counts:
            done = subprocess.run([*CHILD, kind, str(count)], capture_output=True, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1])
            how = "one after the other" if kind == "sessions" else "one graph of all"
            print(
                f"| {how} | {count} | {row['cpu_s']:.1f} | {1000 * row['cpu_s'] / count:.0f} | {row['most']} "
                f"| {row['peak_mb']:.0f} | {row['peak_mb'] - row['start_mb']:.0f} |",
                flush=True,
            )


def _measure(kind: str, count: int) -> dict[str, float]:
    """Make the graphs of sessions with tiny files and go through them; nothing is computed."""
    import logging

    from nipype import Workflow

    from bids_mmh.participant.workflow import session_graph
    from bids_mmh.runtime import workflow_run

    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as scratch:
        jobs = _jobs(Path(scratch), count)
        plugin = _instant_plugin()
        workflow_run.plugin_for_run = lambda *_, **__: plugin
        start_mb, start = _peak_mb(), time.process_time()
        if kind == "sessions":
            graphs = (session_graph(job, "cpu") for job in jobs)
        else:
            whole = Workflow("all")
            whole.add_nodes([session_graph(job, "cpu") for job in jobs])
            graphs = iter([whole])
        file = Path(scratch) / "plugin.yml"
        file.write_text("{plugin: MultiProc, plugin_args: {poll_sleep_duration: 0}}")
        settings = SimpleNamespace(
            nipype_plugin_file=file, stop_on_first_crash=False, work_dir=Path(scratch) / "work"
        )
        workflow_run.run_sessions(
            graphs, settings, crash_dir=Path(scratch) / "crash", callbacks=[], ended=lambda *_: None
        )
        cpu_s = time.process_time() - start
    return {"cpu_s": cpu_s, "most": plugin.most, "peak_mb": _peak_mb(), "start_mb": start_mb}


def _jobs(folder: Path, count: int) -> "list[SessionJob]":
    from bids_mmh.bids.session import Scan, Session
    from bids_mmh.derivatives.jobs import ScanJob, SessionJob
    from bids_mmh.preprocess.template import Template
    from bids_mmh.settings import Settings

    settings = Settings(
        bids_dir=folder / "raw",
        output_dir=folder / "out",
        analysis_level="participant",
        preproc_only=True,
        work_dir=folder / "work",
    )
    settings.bids_dir.mkdir()
    brain = folder / "template.nii.gz"
    brain.touch()
    jobs = []
    for number in range(count):
        scans = []
        for sequence in ("T1w", "T2w"):
            path = settings.bids_dir / f"sub-{number:04d}_{sequence}.nii.gz"
            path.write_bytes(b"tiny")
            scans.append(Scan(path, sequence, {"subject": f"{number:04d}"}))
        own = tuple(ScanJob(scan, scans[0], "MNI152NLin2009aSym", 1.0, settings, None) for scan in scans)
        session = Session(f"{number:04d}", None, tuple(scans))
        jobs.append(SessionJob(session, own, Template("MNI152NLin2009aSym", brain, brain, "")))
    return jobs


def _instant_plugin() -> "SessionPlugin":
    """A plugin whose steps are over as soon as they begin."""
    from bids_mmh.runtime.plugins.session_plugin import SessionPlugin

    class Instant(SessionPlugin):
        most = tasks = 0

        def _local_hash_check(self, jobid: int, graph: object) -> bool:  # noqa: ARG002
            return False

        def _submit_job(self, node: object, updatehash: bool = False) -> int:  # noqa: ARG002
            self.most = max(self.most, len(self._sessions))
            self.tasks += 1
            return self.tasks

        def _get_result(self, taskid: int) -> dict[str, None]:  # noqa: ARG002
            return {"result": None, "traceback": None}

        def _clear_task(self, taskid: int) -> None:
            pass

    return Instant({"n_procs": 2})


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
