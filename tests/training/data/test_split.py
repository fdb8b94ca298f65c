from dataclasses import replace

import pytest

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.training.data.split import (
    Split,
    all_splits_of,
    make_split,
    read_split,
    split_of,
    split_subjects,
    study_split,
    travelling_subjects,
)


def scan(subject, site="", name=""):
    return DerivedScan(name, "", "T1w", site, subject=f"sub-{subject}", slope=1, intercept=0)


def scans_of(subjects, each=2):
    return [scan(f"{s:02}", name=f"{s}{i}") for s in range(subjects) for i in range(each)]


def at_sites(**counts):
    """So many subjects at each site, two scans each."""
    return [scan(f"{site}{i}", site) for site, count in counts.items() for i in range(count) for _ in "ab"]


@pytest.mark.parametrize(
    ("subjects", "fraction", "held"), [(10, 0.2, 2), (10, 0.0, 1), (2, 0.9, 1), (1, 0.2, 0)]
)
def test_split_never_shares_a_subject(subjects, fraction, held):
    scans = scans_of(subjects)
    train, validation = split_subjects(scans, fraction, seed=1)
    assert len(validation) == held
    assert not train & validation
    assert train | validation == {scan.subject for scan in scans}


def test_split_depends_on_the_seed_alone():
    scans = scans_of(12)
    splits = {tuple(sorted(split_subjects(scans, 0.25, seed)[1])) for seed in range(6)}
    assert len(splits) > 1
    assert split_subjects(scans[::-1], 0.25, 3) == split_subjects(scans, 0.25, 3)


@pytest.mark.parametrize("seed", range(8))
def test_every_site_gives_its_share(seed):
    """A fifth of 40, 20, 10 and 5 subjects."""
    _, validation = split_subjects(at_sites(a=40, b=20, c=10, d=5), 0.2, seed)
    counts = [sum(subject[4] == site for subject in validation) for site in "abcd"]
    assert sum(counts) == 15
    assert all(abs(count - share) <= 1 for count, share in zip(counts, (8, 4, 2, 1), strict=True))


def test_scans_of_a_part():
    split = Split(frozenset({"sub-00"}), frozenset({"sub-01"}), frozenset({"sub-02"}))
    scans = scans_of(3)
    assert [split.scans(scans, part) for part in ("train", "validation", "test")] == [
        scans[:2],
        scans[2:4],
        scans[4:],
    ]


def test_travellers_were_at_two_known_sites():
    scans = [scan("x", "a"), scan("x", "b"), scan("y", "a"), scan("y", "n/a"), scan("z", "a"), scan("z", "a")]
    assert travelling_subjects(scans) == {"sub-x"}


@pytest.fixture
def study():
    """Ten subjects at one site each, and two who travelled between both."""
    return [*at_sites(a=5, b=5), *(scan(name, site) for name in ("x", "y") for site in "ab")]


def test_travellers_are_kept_for_testing(study, recipe):
    split = make_split(study, recipe)
    assert split.test == {"sub-x", "sub-y"}
    assert (len(split.train), len(split.validation)) == (8, 2)
    with_them = make_split(study, replace(recipe, travelling="train"))
    assert with_them.test == set()
    assert {"sub-x", "sub-y"} <= with_them.train | with_them.validation


def test_named_test_subjects(study, recipe):
    named = replace(recipe, test_subjects=("a0",))
    split = make_split(study, named, test=["sub-b1"])
    assert split.test == {"sub-a0", "sub-b1", "sub-x", "sub-y"}
    assert not split.test & (split.train | split.validation)


def test_a_written_split_is_read_as_it_was(study, recipe, tmp_path):
    split = make_split(study, recipe)
    split.write(tmp_path / "split.tsv")
    assert (tmp_path / "split.tsv").read_text().splitlines()[0] == "participant_id\tsplit"
    other_seed = replace(recipe, seed=99, travelling="train", validation=0.5)
    assert make_split(study, other_seed, table=tmp_path / "split.tsv") == split


def table_of(tmp_path, text):
    (tmp_path / "split.tsv").write_text(text)
    return tmp_path / "split.tsv"


def test_a_table_may_name_more_subjects_and_drop_the_prefix(recipe, tmp_path):
    table = table_of(
        tmp_path, "participant_id\tage\tsplit\n00\t3\ttrain\nsub-01\t4\tvalidation\n77\t5\ttest\n"
    )
    assert make_split(scans_of(2), recipe, table=table) == Split(
        frozenset({"sub-00"}), frozenset({"sub-01"}), frozenset()
    )


def test_named_test_subjects_win_over_a_table(recipe, tmp_path):
    table = table_of(tmp_path, "participant_id\tsplit\n00\ttrain\n01\ttrain\n")
    assert make_split(scans_of(2), recipe, table, ["01"]).test == {"sub-01"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("participant_id\tgroup\n00\ttrain\n", "needs the columns participant_id and split"),
        ("participant_id\tsplit\n00\ttraining\n", "in split 'training': use train, validation, test"),
        ("participant_id\tsplit\n00\ttrain\nsub-00\ttest\n", "sub-00 is in two splits"),
        ("participant_id\tsplit\n00\ttrain\n", "does not say where sub-01 belongs"),
    ],
)
def test_tables_that_are_wrong(recipe, tmp_path, text, sentence):
    with pytest.raises(UsageError, match=sentence):
        make_split(scans_of(2), recipe, table=table_of(tmp_path, text))


def test_no_table(tmp_path):
    with pytest.raises(UsageError, match="is not a split"):
        read_split(tmp_path / "none.tsv")


def test_a_mistyped_test_subject_is_not_trained_on_silently(recipe):
    with pytest.raises(UsageError, match="Test subject sub-1 has no scan"):
        make_split(scans_of(3), recipe, test=["1"])


def test_nobody_left(recipe):
    with pytest.raises(NoInputError, match=r"Nobody is left.*travelling = 'train'"):
        make_split([scan("x", "a"), scan("x", "b")], recipe)


def residents(**counts):
    """Scans of so many subjects of each site, who were nowhere else."""
    return [scan(f"{site}{i}", site) for site, count in counts.items() for i in range(count)]


def by_site(subjects):
    return [sum(subject[4] == site for subject in subjects) for site in "abc"]


def test_a_study_keeps_travelling_subjects_and_a_fifth_of_the_others_of_every_site_for_testing(recipe):
    travelled = [scan("x", "a"), scan("x", "b"), scan("y", "b"), scan("y", "n/a"), scan("y", "c")]
    scans = [*residents(a=10, b=20, c=10), *travelled]
    recipe = replace(recipe, travelling="train", validation=0.25)
    split = study_split(scans, recipe)
    assert {"sub-x", "sub-y"} <= split.test
    assert by_site(split.test) == [2, 4, 2]
    validation = by_site(split.validation)
    assert validation[1] == 5
    assert sorted((validation[0], validation[2])) == [2, 3]
    assert split.train | split.validation | split.test == {one.subject for one in scans}
    assert len(split.train) + len(split.validation) + len(split.test) == 42
    assert split == study_split(scans[::-1], recipe)
    assert split != study_split(scans, replace(recipe, seed=recipe.seed + 1))


def test_no_site_is_left_without_anybody_to_train_on(recipe):
    split = study_split(residents(a=2, b=2, c=1), replace(recipe, validation=0.5), test=0.5)
    assert min(by_site(split.train)) == 1
    assert by_site(split.test) == [1, 1, 0]
    assert not split.validation


def test_who_was_placed_before_stays_there_when_a_study_grows(recipe):
    scans = residents(a=6, b=6)
    first = study_split(scans, recipe)
    known = {subject: part for part in ("train", "validation", "test") for subject in getattr(first, part)}
    grown = study_split([*scans, scan("a0", "b"), *residents(c=4)], recipe, known)
    for part in ("train", "validation", "test"):
        assert getattr(first, part) <= getattr(grown, part)
    assert by_site(grown.train)[2] >= 2


def test_a_study_of_travelling_subjects_alone_cannot_be_trained_on(recipe):
    with pytest.raises(NoInputError, match=r"2 of 2 subjects are kept for testing.*Add subjects of one site"):
        study_split([scan(f"{i}", site) for i in (1, 2) for site in "ab"], recipe)


def test_the_stage_1_folder_inside_a_model_has_the_models_split(tmp_path):
    model = tmp_path / "model"
    Split(frozenset({"sub-1"}), frozenset()).write(model / "training" / "split.tsv")
    table = model / "training" / "split.tsv"
    assert split_of(model) == split_of(model / "stage1") == table
    assert split_of(model / "other") is None
    assert all_splits_of(tmp_path) == [table]
