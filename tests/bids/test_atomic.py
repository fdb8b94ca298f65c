import json

import pytest

from bids_mmh.bids.atomic import write_json, write_text, write_tsv
from bids_mmh.files import atomic_path


def test_the_name_appears_only_when_the_block_is_done(tmp_path):
    final = tmp_path / "new" / "image.nii.gz"
    with atomic_path(final) as temporary:
        assert temporary.parent == final.parent
        assert temporary.name.startswith(".") and temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"x")
        assert not final.exists()
    assert final.read_bytes() == b"x"
    assert list(final.parent.iterdir()) == [final]


def test_a_failure_leaves_the_old_version_and_nothing_else(tmp_path):
    final = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), atomic_path(final) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    with atomic_path(tmp_path / "a") as first, atomic_path(tmp_path / "a") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a").read_text() == "1"


def test_json_keeps_order_and_letters_and_refuses_nan(tmp_path):
    path = write_json(tmp_path / "a.json", {"b": "é", "a": [1, None]})
    assert path.read_text(encoding="utf-8").startswith('{\n  "b": "é"')
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": "é", "a": [1, None]}
    with pytest.raises(ValueError, match="nan"):
        write_json(path, {"a": float("nan")})
    assert path.read_text(encoding="utf-8").startswith('{\n  "b"')


def test_tables_say_na_for_what_is_missing(tmp_path):
    path = write_tsv(tmp_path / "a.tsv", [{"x": 1, "y": None}, {"x": "b"}], ["x", "y"])
    assert path.read_bytes() == b"x\ty\n1\tn/a\nb\tn/a\n"
    with pytest.raises(ValueError, match="z"):
        write_tsv(path, [{"z": 1}], ["x"])
