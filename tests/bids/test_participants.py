import json

import pytest

from bids_mmh.bids.participants import copy_participants, read_ages, read_sexes


@pytest.fixture
def table(tmp_path):
    def write(text, units=None):
        (tmp_path / "participants.tsv").write_text(text)
        if units:
            column = text.split("\n")[0].split("\t")[1]
            (tmp_path / "participants.json").write_text(json.dumps({column: {"Units": units}}))
        return tmp_path

    return write


@pytest.mark.parametrize("column", ["age", "Age", "AGE_AT_SCAN", "age years", "age-at-scan"])
def test_column_is_found_in_any_spelling(table, column):
    ages = read_ages(table(f"participant_id\t{column}\nsub-1\t20\nsub-2\tn/a\n3\t89+\n"))
    assert ages.years == {"sub-1": 20, "sub-3": 89}
    assert ages.problems == ()


@pytest.mark.parametrize(("unit", "years"), [("years", 24), ("months", 2), ("days", 24 / 365.25), ("", 24)])
def test_unit_comes_from_the_data_dictionary(table, unit, years):
    assert read_ages(table("participant_id\tage\nsub-1\t24\n", unit)).years == {"sub-1": pytest.approx(years)}


def test_text_that_is_no_age_is_unknown_and_said(table):
    ages = read_ages(table("participant_id\tage\nsub-1\tfifty\nsub-2\t999\nsub-3\t35,5\nsub-4\tnan\n"))
    assert ages.years == {"sub-3": 35.5}
    (sentence,) = ages.problems
    assert "2 ages are no ages ('fifty' (sub-1), '999' (sub-2))" in sentence


def test_without_table_or_column_there_are_no_ages(tmp_path, table):
    assert "there is no participants.tsv" in read_ages(tmp_path / "nowhere").problems[0]
    assert "has no column 'age'" in read_ages(table("participant_id\tsex\nsub-1\tF\n")).problems[0]


def test_sexes_are_read_in_any_spelling(tmp_path, table):
    text = "participant_id\tSex\nsub-1\tF\n2\tmale\nsub-3\tn/a\nsub-4\tO\nsub-5\tm\n"
    assert read_sexes(table(text)) == {"sub-1": "F", "sub-2": "M", "sub-5": "M"}
    assert read_sexes(table("participant_id\tage\nsub-1\t30\n")) == {}
    assert read_sexes(tmp_path / "nowhere") == {}


def test_table_and_dictionary_are_carried_over(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    copy_participants(raw, out)
    assert not out.exists()
    (raw / "participants.tsv").write_text("participant_id\tage\nsub-1\t20\n", encoding="utf-8-sig")
    (raw / "participants.json").write_text("{}")
    copy_participants(raw, out)
    assert read_ages(out).years == {"sub-1": 20}
    assert (out / "participants.json").is_file()
