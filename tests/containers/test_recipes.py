"""Dockerfile and Singularity definition say the same, and name files that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DEFINITION = (ROOT / "singularity" / "bids-mmh.def").read_text()


def section(name):
    return re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", DEFINITION, re.M | re.S)[1]


def test_the_same_base_and_environment():
    base = re.search(r"^FROM (\S+?)\$", DOCKERFILE, re.M)[1]
    assert f"From: {base}\n" in DEFINITION
    docker = dict(
        re.findall(
            r"([A-Z_]+)=(\S+)(?: \\)?$", re.search(r"^ENV (.*?)\nLABEL", DOCKERFILE, re.M | re.S)[1], re.M
        )
    )
    singularity = dict(re.findall(r"export ([A-Z_]+)=(\S+)", section("environment")))
    assert (
        docker.pop("BIDS_MMH_DOCKER_TAG") == "bids-mmh:${VERSION}-${VARIANT}"
    )  # the definition sets it in %post
    assert docker == singularity
    assert len(docker) >= 11


def test_everything_that_is_copied_exists_and_is_in_the_context():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    lines = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M)
    copied = {name for line in lines for name in line.split()} | {
        line.split()[0] for line in section("files").strip().splitlines()
    }
    assert len(copied) > 6
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name.split('/')[0]}" in ignored, name


def test_the_version_of_the_image_is_the_program_s():
    from bids_mmh import __version__

    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.M) == [__version__]


def test_the_image_does_not_run_as_root():
    final = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert re.findall(r"^USER (\d+):(\d+)$", final, re.M) == [("1000", "1000")]
    after = final[final.index("\nUSER ") :]
    assert "\nRUN " not in after
    assert "\nCOPY " not in after
