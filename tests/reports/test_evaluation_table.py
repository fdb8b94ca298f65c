import math
from dataclasses import fields

from bids_mmh.reports.evaluation_table import EvaluationRow, evaluation_dictionary


def test_every_column_is_explained():
    assert list(evaluation_dictionary()) == [field.name for field in fields(EvaluationRow)]


def test_what_a_table_cannot_hold_is_missing():
    row = EvaluationRow("MNI", "pair", "Raw", "psnr", math.inf, sd=math.nan, n=3, p=0.012345678).record()
    assert (row["value"], row["sd"], row["n"], row["p"]) == (None, None, 3, 0.0123457)
