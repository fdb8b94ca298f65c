import hashlib
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import bids_mmh
from bids_mmh.cli.version import version_text

ROOT = Path(__file__).parents[2]


def test_version_names_program_and_embedded_model(monkeypatch):
    monkeypatch.delenv("BIDS_MMH_DOCKER_TAG", raising=False)
    folder = Path(bids_mmh.__file__).parent / "resources" / "embedded"
    content = b"".join((folder / name).read_bytes() for name in ("config.json", "model.safetensors"))
    first, second = version_text().splitlines()
    assert first == f"bids-mmh {bids_mmh.__version__}"
    assert second == f"embedded model: SHA-256 {hashlib.sha256(content).hexdigest()}"


def test_an_image_says_what_it_holds_and_lacks(monkeypatch, tmp_path):
    weights = tmp_path / "synthstrip.1.pt"
    weights.write_bytes(b"x")
    monkeypatch.setenv("BIDS_MMH_DOCKER_TAG", "bids-mmh:9")
    monkeypatch.setenv("BIDS_MMH_SYNTHSTRIP", str(weights))
    monkeypatch.delenv("BIDS_MMH_BIOMEDCLIP", raising=False)
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    assert version_text().splitlines()[2] == (
        "Image bids-mmh:9 holds weights of SynthStrip and lacks the template MNI152NLin2009cAsym, "
        "weights of BiomedCLIP."
    )


def test_the_command_answers_within_a_second():
    command = [sys.executable, ROOT / "run.py", "--version"]
    seconds = []
    for _ in range(3):  # the quickest counts: the machine may have other work
        start = perf_counter()
        finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        seconds.append(perf_counter() - start)
        assert finished.stdout == version_text() + "\n"
    assert min(seconds) < 1
