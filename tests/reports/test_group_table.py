from bids_mmh.reports.group_table import STATISTICS, ScanRow, data_dictionary

ROW = ScanRow("sub-01", None, "sub-01_T1w", "T1w", "MNI", True)


def test_every_column_is_explained_and_in_order():
    row = ScanRow(
        "sub-01", "ses-A", "s", "T1w", "MNI", True, "X", before={"mean": 0.5}, warnings=("a.", "b.")
    )
    record = row.record()
    assert list(record) == list(data_dictionary())
    assert (record["mean_before"], record["mean_after"], record["warnings"]) == (0.5, None, "a.; b.")
    assert record["state"] == "harmonized"


def test_unknown_site_stays_missing_in_the_table_and_named_on_the_page():
    assert ROW.record()["site"] is None
    assert ROW.site_label == "n/a"


def test_dictionary_covers_both_times_of_each_statistic():
    dictionary = data_dictionary()
    for name in STATISTICS:
        assert dictionary[f"{name}_before"]["Description"].endswith("before harmonization")
        assert dictionary[f"{name}_after"]["Description"].endswith("after harmonization")
