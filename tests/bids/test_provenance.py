import json
import subprocess
import sys
from pathlib import Path

import pytest

from bids_mmh import __version__
from bids_mmh.bids.names import derivative_path
from bids_mmh.bids.provenance import bids_uri, dataset_description, write_dataset_files
from bids_mmh.derivatives.outputs import LABELS, OUTPUTS
from bids_mmh.derivatives.sidecar import Sidecar
from bids_mmh.errors import CannotCreateError


def test_uris_are_relative_to_their_dataset():
    root = Path("/data/raw")
    assert bids_uri("raw", root / "sub-01" / "anat" / "x.nii", root) == "bids:raw:sub-01/anat/x.nii"
    assert bids_uri("", root / "x.nii", root) == "bids::x.nii"
    with pytest.raises(ValueError, match="other"):
        bids_uri("raw", Path("/data/other/x.nii"), root)


def test_description_inherits_licence_and_doi(skeleton):
    skeleton.write(
        "dataset_description.json",
        {"Name": "Study", "BIDSVersion": "1.8.0", "License": "CC0", "DatasetDOI": "doi:10.1/x"},
    )
    description = dataset_description(bids_dir=skeleton.root, configuration_hash="0a1b2c3d", environ={})
    assert description["License"] == "CC0"
    assert description["SourceDatasets"] == [{"URL": skeleton.root.as_uri(), "DOI": "doi:10.1/x"}]
    assert description["DatasetLinks"] == {"raw": skeleton.root.as_uri()}
    (generator,) = description["GeneratedBy"]
    assert (generator["Name"], generator["Version"]) == ("bids-mmh", __version__)
    assert generator["ConfigurationHash"] == "0a1b2c3d"
    assert "Container" not in generator


@pytest.mark.parametrize(
    ("environ", "container"),
    [
        ({"BIDS_MMH_DOCKER_TAG": "bids-mmh:1"}, {"Type": "docker", "Tag": "bids-mmh:1"}),
        (
            {"APPTAINER_CONTAINER": "/x/a.sif", "BIDS_MMH_DOCKER_TAG": "t"},
            {"Type": "singularity", "URI": "file:///x/a.sif"},
        ),
    ],
)
def test_container_comes_from_the_environment(skeleton, environ, container):
    description = dataset_description(bids_dir=skeleton.root, configuration_hash="0", environ=environ)
    assert description["GeneratedBy"][0]["Container"] == container


def test_another_programs_dataset_is_left_alone(skeleton, tmp_path):
    description = dataset_description(bids_dir=skeleton.root, configuration_hash="0", environ={})
    before = (skeleton.root / "dataset_description.json").read_text()
    with pytest.raises(CannotCreateError, match="belongs to another dataset"):
        write_dataset_files(skeleton.root, description, LABELS)
    assert (skeleton.root / "dataset_description.json").read_text() == before
    other = tmp_path / "out"
    other.mkdir()
    (other / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    with pytest.raises(CannotCreateError, match="fMRIPrep"):
        write_dataset_files(other, description, LABELS)


def test_output_is_valid_bids_and_written_twice_without_harm(skeleton, tmp_path):
    scan = skeleton.scan("sub-01_ses-A_run-1_T1w.nii.gz")
    out = tmp_path / "out"
    description = dataset_description(bids_dir=skeleton.root, configuration_hash="0", environ={})
    write_dataset_files(out, description, LABELS)
    write_dataset_files(out, description, LABELS)
    entities = {"subject": "01", "session": "A", "run": "1"}
    sources = [bids_uri("raw", scan, skeleton.root)]
    for desc, suffix, space in (
        ("harmonized", "T1w", "MNI152NLin2009cAsym"),
        ("preproc", "T1w", None),
        ("brain", "mask", None),
        ("brainT2w", "mask", None),
    ):
        image = derivative_path(
            out,
            entities,
            suffix=suffix,
            extension=".nii.gz",
            space=space,
            res="1" if space else None,
            desc=desc,
        )
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(scan.read_bytes())
        fields = Sidecar(skull_stripped=True, sources=tuple(sources), resolution="1 mm")
        kind = "mni_preproc" if space else "native_preproc"
        fields.write(image.with_name(image.name.replace(".nii.gz", ".json")), kind)
    transform = OUTPUTS["to_template"].path(out, entities, sequence="T1w", space="MNI152NLin2009cAsym")
    transform.write_text("#")
    for extra in (
        "logs/CITATION.md",
        "sub-01_ses-A.html",
        "sub-01/figures/x.svg",
        "group_T1w_table.tsv",
        "group_T1w_table.json",
    ):
        (out / extra).parent.mkdir(parents=True, exist_ok=True)
        (out / extra).write_text("x")
    validator = Path(sys.executable).with_name("bids-validator-deno")
    finished = subprocess.run(
        [validator, "--format", "json", out], capture_output=True, text=True, check=False
    )
    issues = json.loads(finished.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert finished.returncode == 0
