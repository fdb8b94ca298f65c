import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

CONTAINER = Path(__file__).parents[2] / "container"
NOWHERE = "http://127.0.0.1:9/file"


@pytest.fixture
def served(tmp_path):
    file = tmp_path / "served.bin"
    file.write_bytes(b"weights")
    return file.as_uri(), hashlib.sha256(b"weights").hexdigest()


def fetch(*arguments):
    command = [sys.executable, CONTAINER / "fetch.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("wanted", ["auto", "yes"])
def test_what_can_be_had_is_kept(tmp_path, served, wanted):
    url, digest = served
    target = tmp_path / "baked" / "w.pt"
    assert fetch(wanted, digest, url, target).returncode == 0
    assert target.read_bytes() == b"weights"


@pytest.mark.parametrize("wanted", ["auto", "yes"])
def test_another_file_is_never_kept(tmp_path, served, wanted):
    result = fetch(wanted, "0" * 64, served[0], tmp_path / "w.pt")
    assert result.returncode == 1
    assert served[1] in result.stderr
    assert not (tmp_path / "w.pt").exists()


@pytest.mark.parametrize(
    ("wanted", "digest", "code", "words"),
    [
        ("auto", "0" * 64, 0, "w.pt: left out"),
        ("yes", "0" * 64, 1, "w.pt: left out"),
        ("no", "0" * 64, 0, "as asked for"),
        ("no", "", 0, "as asked for"),
        ("auto", "", 64, "SHA-256 of 64 digits is needed"),
        ("perhaps", "0" * 64, 64, "'perhaps' is not one of auto, yes and no"),
    ],
)
def test_a_host_that_cannot_be_reached(tmp_path, wanted, digest, code, words):
    result = fetch(wanted, digest, NOWHERE, tmp_path / "w.pt")
    assert result.returncode == code
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "w.pt").exists()


def test_each_file_by_its_own_argument(tmp_path, served):
    url, digest = served
    environ = {
        "PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin",
        "TEMPLATE": "no",
        "BIOMEDCLIP": "no",
    }
    environ |= {"SYNTHSTRIP": "yes", "SYNTHSTRIP_URL": url, "SYNTHSTRIP_SHA256": digest}
    subprocess.run(
        ["sh", CONTAINER / "fetch-all.sh", tmp_path / "baked"], env=environ, check=True, timeout=60
    )
    assert [path.name for path in (tmp_path / "baked").rglob("*") if path.is_file()] == ["synthstrip.1.pt"]


def test_of_a_whole_model_the_vision_tower_is_kept(tmp_path):
    command = [sys.executable, CONTAINER / "vision_tower.py", tmp_path]
    subprocess.run(command, check=True, timeout=300)  # an image without BiomedCLIP
    state = {"visual.head.proj.weight": torch.ones(2, 3), "text.proj.weight": torch.zeros(2)}
    torch.save(state, tmp_path / "biomedclip.bin")
    subprocess.run(command, check=True, timeout=300)
    kept = load_file(tmp_path / "biomedclip.safetensors")
    assert list(kept) == ["visual.head.proj.weight"]
    assert torch.equal(kept["visual.head.proj.weight"], torch.ones(2, 3))
    assert not (tmp_path / "biomedclip.bin").exists()
