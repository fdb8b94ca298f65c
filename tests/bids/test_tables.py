import logging

import pytest

from bids_mmh.bids.atomic import write_tsv
from bids_mmh.bids.tables import read_text, read_tsv
from bids_mmh.errors import BadDataError


def read(tmp_path, content):
    path = tmp_path / "table.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_tsv(path)


def test_quotation_marks_are_ordinary_characters(tmp_path):
    rows = read(tmp_path, 'participant_id\tnote\tsite\nsub-1\t"so\tA\nsub-2\t5" coil\tB\nsub-3\t"x"\tC\n')
    assert [(row["note"], row["site"]) for row in rows] == [('"so', "A"), ('5" coil', "B"), ('"x"', "C")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks_make_no_difference(tmp_path, mark, end):
    rows = read(tmp_path, mark + end.join(["participant_id\tsite", "sub-1\tZürich", "", "sub-2\tn/a", ""]))
    assert rows == [{"participant_id": "sub-1", "site": "Zürich"}, {"participant_id": "sub-2", "site": None}]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_other_encodings_are_refused_in_one_sentence(tmp_path, encoding):
    with pytest.raises(BadDataError, match=r"table\.tsv is not UTF-8 text .*: save it as UTF-8\."):
        read(tmp_path, "participant_id\tsite\nsub-1\tZürich\n".encode(encoding))


def test_rows_of_another_length_are_said(tmp_path, caplog):
    text = "participant_id\tnote\tsite\nsub-1\ta\tb\tA\nsub-2\tx\nsub-3\tx\tC\t\t\n"
    with caplog.at_level(logging.WARNING):
        rows = read(tmp_path, text)
    assert rows == [
        {"participant_id": "sub-2", "note": "x", "site": None},
        {"participant_id": "sub-3", "note": "x", "site": "C"},
    ]
    assert "lines 2 have more cells" in caplog.text
    assert "lines 3 have fewer cells" in caplog.text


def test_what_is_written_is_read_back_with_whatever_names(tmp_path):
    rows = [
        {"id": 'sub-"1"', 'a "b"': "tab\there", "line\nbreak": "two\r\nlines"},
        {"id": "'x", 'a "b"': '"', "line\nbreak": "<script>"},
    ]
    path = write_tsv(tmp_path / "out.tsv", rows, list(rows[0]))
    assert read_tsv(path) == [
        {"id": 'sub-"1"', 'a "b"': "tab here", "line break": "two lines"},
        {"id": "'x", 'a "b"': '"', "line break": "<script>"},
    ]
    assert read_text(path).splitlines()[1] == 'sub-"1"\ttab here\ttwo lines'


def test_no_table_no_rows(tmp_path):
    assert read_tsv(tmp_path / "none.tsv") == []
    assert read(tmp_path, "") == []
