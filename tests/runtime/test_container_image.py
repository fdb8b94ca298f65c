from bids_mmh.runtime.container_image import image_contents

TEMPLATE = "tpl-MNI152NLin2009cAsym/tpl-MNI152NLin2009cAsym_res-01_{}.nii.gz"


def test_outside_of_an_image_there_is_nothing_to_say():
    assert image_contents({}) is None


def test_an_empty_file_is_no_template(tmp_path):
    environ = {"BIDS_MMH_DOCKER_TAG": "x", "TEMPLATEFLOW_HOME": str(tmp_path)}
    for name in ("T1w", "desc-brain_mask"):
        file = tmp_path / TEMPLATE.format(name)
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert not image_contents(environ).holds
    for name in ("T1w", "desc-brain_mask"):
        (tmp_path / TEMPLATE.format(name)).write_bytes(b"x")
    contents = image_contents(environ)
    assert contents.holds == ("the template MNI152NLin2009cAsym",)
    assert contents.lacks == ("weights of SynthStrip", "weights of BiomedCLIP")
