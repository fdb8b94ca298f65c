"""Damaged files by the thousand: is each one read, or refused in a sentence?

``python benchmarks/robustness/fuzz.py [--cases 2000] [--processes 2] [--seed 0]`` changes bytes of small
images, tables, sidecars and model folders and gives them to the functions that read them, in processes with
limits on time and memory. It prints what it found as a table and a summary, and ends with 1 if it found
anything: a crash, an end without an answer in time, too much memory, an error that is no sentence, or a scan
that was read but is not what the file holds. ``--plant crash|hang|memory|error|wrong`` puts such a bug into
the reading of images, to see it found.
"""

import argparse
import gzip
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

import nibabel as nib
import numpy as np

from bids_mmh.bids.metadata import metadata_reader
from bids_mmh.bids.tables import participant_rows, read_tsv
from bids_mmh.derivatives.sidecar import Sidecar
from bids_mmh.errors import BidsMmhError
from bids_mmh.preprocess.steps import load

SECONDS = 20.0
"""A case takes some milliseconds; this allows for a machine with other work on it."""
MEMORY = 3 * 2**30
"""Bytes of address space that reading a file of a few kilobytes may add."""
_PASSED = ("read", "refused")
_SCALE = (0.5, 3.0)  # slope and intercept of the whole images


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: its name in the dataset.
        whole: gives the content of an undamaged file.
        check: reads a file; raises AssertionError where it was read wrongly.
        header: damage lies mostly in so many first bytes; 0 for anywhere.
        gzipped: whether it is compressed; most damage lies behind an intact compression.
    """

    name: str
    whole: Callable[[], bytes]
    check: Callable[[Path], None]
    header: int = 0
    gzipped: bool = False


@dataclass(frozen=True)
class Finding:
    """What came of a case: its number, its kind of file, one word, and the details."""

    case: int
    kind: str
    verdict: str
    details: str = ""


def _image(ending: type[nib.Nifti1Image]) -> bytes:
    rng = np.random.default_rng(1)
    turned = nib.eulerangles.euler2mat(0.05, -0.04, 1.5) @ np.diag([5.0, 5.2, -5.1])
    affine = nib.affines.from_matvec(turned, [-50, 60, 55])
    image = ending(rng.integers(0, 1000, (20, 22, 24)).astype(np.int16), affine)
    image.header.set_slope_inter(*_SCALE)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    return bytes(image.to_bytes())


def _check_image(path: Path) -> None:
    """A scan that is read without a word must be what nibabel reads, at the same place."""
    scan = load.load_scan(path)
    sizes = np.array(scan.image.GetSize()) * scan.image.GetSpacing()
    values = load.to_array(scan.image)
    assert np.isfinite(values).all(), "values that are not finite"
    assert values.min() < values.max(), "no contrast"
    assert load.MIN_SIDE_MM <= sizes.max() <= load.MAX_SIDE_MM, "no head is of this size"
    if not scan.warnings:
        _compare(scan, nib.load(path))


def _compare(scan: load.LoadedScan, image: nib.Nifti1Image) -> None:
    stored = np.asanyarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])
    values = load.to_array(scan.image)
    np.testing.assert_allclose(np.sort(values, axis=None), np.sort(stored, axis=None), rtol=1e-4, atol=1e-3)
    millimetres = {1: 1000.0, 3: 0.001}.get(int(image.header["xyzt_units"]) & 7, 1.0)
    middle = nib.affines.apply_affine(image.affine, (np.array(stored.shape) - 1) / 2) * millimetres
    lps = scan.image.TransformContinuousIndexToPhysicalPoint(((np.array(values.shape) - 1) / 2).tolist())
    np.testing.assert_allclose(lps * np.array([-1, -1, 1]), middle, rtol=1e-3, atol=0.1)


def _check_table(path: Path) -> None:
    rows = read_tsv(path)
    for row in rows:
        for name, cell in row.items():
            text = f"{name}{cell or ''}"
            assert not any(mark in text for mark in "\t\r\n\0"), f"a cell of several: {text!r}"
    rows_of = participant_rows(path.parent)
    assert callable(rows_of)


def _check_metadata(path: Path) -> None:
    fields = metadata_reader(path.parent)(path.with_suffix(".nii.gz"))
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    assert repr(fields) == repr(content if isinstance(content, dict) else {}), "other fields than the file's"


def _check_sidecar(path: Path) -> None:
    written = Sidecar.read(path)
    json.dumps(written.content("mni_harmonized"))


def _check_model(path: Path) -> None:
    """Load the folder of a damaged file; what was written with it is all there."""
    from bids_mmh.method.harmonizer import Harmonizer

    for name, content in _model_files().items():
        if name != path.name:
            (path.parent / name).write_bytes(content)
    Harmonizer.from_pretrained(path.parent)
    weights = "model.safetensors"
    assert path.name != weights or path.read_bytes() == _model_files()[weights], "altered weights were loaded"


@cache
def _model_files() -> Mapping[str, bytes]:
    import torch

    from bids_mmh.method.config import PRESETS
    from bids_mmh.method.harmonizer import Harmonizer

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        Harmonizer(PRESETS["tiny"]).save_pretrained(Path(folder))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


_SIDECAR = {
    "Manufacturer": "Siemens",
    "InstitutionName": "Zürich",
    "EchoTime": 2.1e-3,
    "ImageType": ["M", None],
}
_TABLE = 'participant_id\tage\tsite\nsub-01\t31\t"A"\nsub-02\tn/a\tZürich\nsub-03\t\t=1+1\n'
_DERIVED = {
    "Site": "A",
    "Sequence": "T1w",
    "BrainMask": "m.nii.gz",
    "IntensityScaling": {"Slope": 0.01, "Intercept": -1},
    "QualityWarnings": ["x"],
    "Preprocessing": {"notes": []},
    "SchemaVersion": 1,
}

KINDS: Sequence[Kind] = (
    Kind("sub-01_T1w.nii", partial(_image, nib.Nifti1Image), _check_image, header=352),
    Kind("sub-01_T1w.nii.gz", partial(_image, nib.Nifti1Image), _check_image, header=352, gzipped=True),
    Kind("sub-02_T1w.nii", partial(_image, nib.Nifti2Image), _check_image, header=544),
    Kind("participants.tsv", _TABLE.encode, _check_table),
    Kind("sub-01_T1w.json", lambda: json.dumps(_SIDECAR).encode(), _check_metadata),
    Kind("sub-01_desc-harmonized_T1w.json", lambda: json.dumps(_DERIVED).encode(), _check_sidecar),
    Kind("config.json", lambda: _model_files()["config.json"], _check_model),
    Kind("model.safetensors", lambda: _model_files()["model.safetensors"], _check_model, header=4000),
)


def kind_of(case: int) -> Kind:
    """Which kind of file a case is about: images take half of them."""
    place = case % (len(KINDS) + 3)
    return KINDS[place] if place < len(KINDS) else KINDS[place - len(KINDS)]


def damaged(kind: Kind, rng: np.random.Generator) -> bytes:
    """Damage the content of a file: some bytes changed, most of them in its header, or cut, or repeated."""
    content = bytearray(kind.whole())
    packed = kind.gzipped and rng.random() < 0.3
    if packed:
        content = bytearray(gzip.compress(content, mtime=0))
    reach = kind.header if kind.header and not packed and rng.random() < 0.9 else len(content)
    action = rng.choice(["flip", "byte", "cut", "repeat"], p=[0.5, 0.3, 0.1, 0.1])
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(min(reach, len(content)))) if content else 0
        if action == "flip" and content:
            content[place] ^= 1 << int(rng.integers(8))
        elif action == "byte" and content:
            content[place] = int(rng.choice([0, 0x22, 0x5B, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))
        elif action == "cut":
            del content[place:]
        elif action == "repeat":
            content[place:place] = content[place : place + int(rng.integers(1, 64))] * int(
                rng.integers(1, 2000)
            )
    return gzip.compress(bytes(content), mtime=0) if kind.gzipped and not packed else bytes(content)


def run_case(case: int, seed: int, folder: Path) -> Finding:
    """Damage a file and read it, in this process."""
    kind = kind_of(case)
    own = folder / str(case)
    own.mkdir()
    path = own / kind.name
    path.write_bytes(damaged(kind, np.random.default_rng([seed, case])))
    try:
        kind.check(path)
        return Finding(case, kind.name, "read")
    except BidsMmhError as error:
        sentence = str(error)
        plain = sentence.endswith(".") and "\n" not in sentence and str(folder) in sentence
        known = kind.check is _check_sidecar  # its callers name the file
        return Finding(case, kind.name, "refused" if plain or known else "no sentence", sentence)
    except AssertionError as error:
        return Finding(case, kind.name, "wrong", " ".join(str(error).split())[:200])
    except MemoryError as error:
        return Finding(case, kind.name, "memory", str(error))
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        return Finding(case, kind.name, "error", f"{type(error).__name__}: {said}")
    finally:
        shutil.rmtree(own)


def plant(bug: str) -> None:
    """Put a bug into the reading of images: it shows for headers with other scale factors."""
    sound = load.nifti1_in_mm

    def broken(image: nib.Nifti1Image) -> nib.Nifti1Image:
        if (image.dataobj.slope, image.dataobj.inter) == _SCALE:
            return sound(image)
        if bug == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if bug == "hang":
            time.sleep(3600)
        if bug == "memory":
            np.ones(MEMORY // 4)
        if bug == "error":
            return None  # type: ignore[return-value]  # whoever takes it for an image fails
        changed = sound(image)
        return nib.Nifti1Image(np.asanyarray(changed.dataobj) + 1, changed.affine, changed.header)

    load.nifti1_in_mm = broken


def _work(link: Connection, seed: int, folder: Path, bug: str | None) -> None:
    """Run the cases whose numbers arrive, until none does."""
    if bug:
        plant(bug)
    _model_files()
    for kind in KINDS:  # what is whole is read without a word
        path = folder / f"{os.getpid()}" / kind.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(kind.whole()) if kind.gzipped else kind.whole())
        assert not kind.name.endswith((".nii", ".nii.gz")) or not load.load_scan(path).warnings
        kind.check(path)
        shutil.rmtree(path.parent)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    link.send(None)
    while (case := link.recv()) is not None:
        link.send(run_case(case, seed, folder))


class _Watched:
    """A process that runs cases, and is replaced where a case ends it or takes too long."""

    def __init__(self, seed: int, folder: Path, bug: str | None) -> None:
        self._arguments = (seed, folder, bug)
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._link, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, *self._arguments), daemon=True)
        self._process.start()
        other.close()
        self._link.recv()

    def run(self, case: int) -> Finding:
        """Run one case."""
        self._link.send(case)
        kind = kind_of(case).name
        try:
            if self._link.poll(SECONDS):
                return self._link.recv()
            finding = Finding(case, kind, "hang", f"no answer in {SECONDS:g} s")
        except (EOFError, ConnectionResetError):
            self._process.join()
            finding = Finding(case, kind, "crash", f"exit code {self._process.exitcode}")
        self._process.kill()
        self._process.join()
        self._start()
        return finding

    def close(self) -> None:
        """End the process."""
        self._link.send(None)
        self._process.join()


def fuzz(cases: Sequence[int], *, seed: int, processes: int, bug: str | None = None) -> Iterator[Finding]:
    """Run cases in watched processes.

    Args:
        cases: their numbers; number and seed decide the damage.
        seed: of all of them.
        processes: how many run at a time.
        bug: one that is planted, see :func:`plant`.

    Yields:
        What came of each, in no certain order.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, ThreadPoolExecutor(processes) as pool:
        idle: SimpleQueue[_Watched] = SimpleQueue()
        watched = [_Watched(seed, Path(folder), bug) for _ in range(processes)]
        for one in watched:
            idle.put(one)

        def run(case: int) -> Finding:
            one = idle.get()
            try:
                return one.run(case)
            finally:
                idle.put(one)

        for finding in pool.map(run, cases):
            yield replace(finding, details=finding.details.replace(folder, "..."))
        for one in watched:
            one.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 where it found something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plant", choices=["crash", "hang", "memory", "error", "wrong"])
    options = parser.parse_args(arguments)
    start, counts = time.monotonic(), Counter[str]()
    cases = range(options.first, options.first + options.cases)
    for finding in fuzz(cases, seed=options.seed, processes=options.processes, bug=options.plant):
        counts[finding.verdict] += 1
        if finding.verdict not in _PASSED:
            print(finding.case, finding.kind, finding.verdict, finding.details, sep="\t", flush=True)
    found = sum(counts.values()) - sum(counts[name] for name in _PASSED)
    minutes = (time.monotonic() - start) / 60
    print(f"{options.cases} cases in {minutes:.1f} min: {dict(counts)}; {found} found.")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
