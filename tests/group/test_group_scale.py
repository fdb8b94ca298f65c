"""Thousands of scans: the tables and the page stay quick, small, and whole."""

import csv
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "speed"
MEASURE = """
import json, re, sys, time
from pathlib import Path
from types import SimpleNamespace
from bids_mmh.group.report import write_study
from bids_mmh.derivatives.index import study_rows
root = Path(sys.argv[1])
settings = SimpleNamespace(output_dir=root, no_evaluation=True)
write_study(settings, study_rows(root, ("T1w", "T2w")), [])
# Not ru_maxrss: a new program keeps there what the process that started it had, here all of the tests.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps([time.process_time(), int(peak) / 1e6]))
"""


@pytest.fixture(scope="module")
def write_big_study():
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("group_scale", BENCHMARKS / "group_scale.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(BENCHMARKS))
    return module.write_study


def report(root):
    """CPU seconds and peak memory, GB, of a process that does nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(root)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def check(root, scans, limits):
    seconds, peak = report(root)
    page = (root / "group.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    assert len(data) == scans
    assert all(row[-1] == f"{row[0].split('_')[0]}.html" for row in data)
    outliers = {row[0]: row[-2] for row in data if row[-2]}
    assert {name for name, said in outliers.items() if said == "exclude"} == {
        f"sub-{number:05d}_T1w" for number in range(7, scans // 2, 50)
    }
    assert {f"sub-{number:05d}_T2w" for number in range(23, scans // 2, 50)} <= set(outliers)
    with (root / "group_T2w_table.tsv").open(newline="") as stream:
        assert sum(1 for _ in csv.DictReader(stream, delimiter="\t")) == scans // 2
    assert len(page) < limits["page"]
    assert seconds < limits["seconds"]
    assert peak < limits["peak"]


def test_hundreds_of_scans(tmp_path, write_big_study):
    write_big_study(tmp_path, 200, 4)
    check(tmp_path, 200, {"page": 1e6, "seconds": 60, "peak": 1.5})


@pytest.mark.slow
def test_four_thousand_scans(tmp_path, write_big_study):
    write_big_study(tmp_path, 4000, 20)
    check(tmp_path, 4000, {"page": 4e6, "seconds": 120, "peak": 1.5})
