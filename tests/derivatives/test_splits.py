from dataclasses import replace

import pytest

from bids_mmh.derivatives.models import resolve_model
from bids_mmh.derivatives.splits import trained_subjects
from bids_mmh.errors import UsageError
from bids_mmh.method.config import PRESETS
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.reports.group_table import ScanRow


def row(name, digest):
    return ScanRow("sub-1", None, "s", "T1w", "MNI", True, model=name, model_sha256=digest)


@pytest.fixture
def fitted(tmp_path):
    """A model in models/mine with a split, fine-tuned from a Stage I model with a split of its own."""
    folder = tmp_path / "models" / "mine"
    Harmonizer(replace(PRESETS["tiny"], name="mine")).save_pretrained(folder)
    for place, text in (
        (folder, "sub-1\ttrain\nsub-2\tvalidation\nsub-3\ttest\n"),
        (folder / "stage1", "4\ttrain\nsub-2\ttrain\n"),
    ):
        (place / "training").mkdir(parents=True, exist_ok=True)
        (place / "training" / "split.tsv").write_text("participant_id\tsplit\n" + text)
    return tmp_path


def test_people_of_every_stage_are_known_by_the_digest(fitted):
    digest = resolve_model(str(fitted / "models" / "mine")).sha256
    found = trained_subjects(fitted, [row("renamed", digest)])
    assert found.parts == {"sub-1": "train", "sub-2": "train", "sub-4": "train"}
    assert found.unknown == ()


def test_a_model_that_was_fitted_again_is_known_by_its_name(fitted):
    assert "sub-1" in trained_subjects(fitted, [row("mine", "0" * 64)]).parts


def test_models_of_other_studies_are_named(fitted):
    found = trained_subjects(fitted, [row("theirs", "0" * 64)])
    assert (found.parts, found.unknown) == ({}, ("theirs",))


def test_embedded_model_saw_nobody(tmp_path):
    embedded = resolve_model("embedded")
    found = trained_subjects(tmp_path, [row(embedded.name, embedded.sha256)])
    assert (found.parts, found.unknown) == ({}, ())


def test_damaged_split_stops_everything(fitted):
    (fitted / "models" / "mine" / "training" / "split.tsv").write_text("nothing\nsub-1\n")
    with pytest.raises(UsageError, match="is not a split"):
        trained_subjects(fitted, [row("mine", "0" * 64)])
