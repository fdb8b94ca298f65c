"""The image, built for real, on a phantom: ``make test-container``."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bids_mmh.cli.version import version_text
from bids_mmh.phantom.dataset import make_phantom

ROOT = Path(__file__).parents[2]
BASE = re.search(r"^FROM (\S+?)\$", (ROOT / "Dockerfile").read_text(), re.M)[1]

pytestmark = [pytest.mark.container, pytest.mark.timeout(5400)]


def context(folder):
    """The files that the Dockerfile copies, without whatever else lies in the working tree."""
    for name in ("Dockerfile", "pyproject.toml", "requirements.lock", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("bids_mmh", "container"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def engine():
    """Docker or Podman, if it works and can have the base image; else skip and say why."""
    reasons = []
    for name in ("docker", "podman"):
        for command in ([name, "info"], [name, "pull", BASE]):
            if shutil.which(name) is None:
                reasons.append(f"there is no {name}")
                break
            finished = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if finished.returncode:
                last = (finished.stderr.strip().splitlines() or ["no reason given"])[-1]
                reasons.append(f"`{' '.join(command)}` failed ({last})")
                break
        else:
            return name
    pytest.skip(f"no image can be built here: {'; '.join(reasons)}")


def check_results(out, owner):
    images = sorted(path.name for path in out.glob("sub-001/anat/*_desc-harmonized_T1w.nii.gz"))
    assert len(images) == 2
    assert {path.stat().st_uid for path in out.rglob("*.nii.gz")} == {owner}
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Container"]["Type"] == "docker"


def test_the_image_works_for_another_user_without_network_and_on_a_read_only_root(tmp_path):
    if os.environ.get("BIDS_MMH_IMAGE_BUILDER"):
        pytest.skip("BIDS_MMH_IMAGE_BUILDER builds it, see the next test")
    name = engine()
    build = [name, "build", "--build-arg", "VARIANT=cpu", "--tag", "bids-mmh:test", context(tmp_path)]
    subprocess.run(build, check=True)
    study = tmp_path / "study"
    said = subprocess.run(
        ["sh", ROOT / "container" / "try-image.sh", "bids-mmh:test", study],
        env={**os.environ, "ENGINE": name},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    assert version_text().splitlines()[1] in said
    assert "Image bids-mmh:" in said
    assert (study / "out" / "group.html").is_file()
    check_results(study / "out", 4321)


def test_the_image_works_as_a_builder_of_one_s_own_runs_it(tmp_path):
    """It is called with CONTEXT -- JOB, and runs the job with WORK/in at /in and WORK/out at /out."""
    builder = os.environ.get("BIDS_MMH_IMAGE_BUILDER")
    if not builder:
        pytest.skip("BIDS_MMH_IMAGE_BUILDER is not set")
    work = Path(os.environ.get("WORK", tmp_path / "work"))
    shutil.rmtree(work / "out", ignore_errors=True)
    shutil.rmtree(work / "in", ignore_errors=True)
    make_phantom(work / "in" / "raw", subjects=1, sites=1, resolution=2.0, sequences=["T1w"], truth=False)
    (tmp_path / "context").mkdir()
    job = ["/in/raw", "/out", "participant", "--sloppy", "--nprocs", "2", "--omp-nthreads", "1"]
    command = [builder, context(tmp_path / "context"), "--", *job]
    model = version_text().splitlines()[1]
    said = subprocess.run(
        command, env={**os.environ, "WORK": str(work)}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert model in said
    (owner,) = {path.stat().st_uid for path in (work / "out").rglob("*.nii.gz")}
    assert owner not in {0, os.getuid()}
    check_results(work / "out", owner)
