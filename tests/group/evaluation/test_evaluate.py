import csv
import json
import pickle
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from bids_mmh.derivatives.index import study_rows
from bids_mmh.derivatives.sidecar import ImageStatistics, Model
from bids_mmh.derivatives.splits import TrainedSubjects
from bids_mmh.errors import BadDataError
from bids_mmh.evaluation.controls.combat import COMBAT
from bids_mmh.evaluation.controls.methods import CONTROLS, RAW
from bids_mmh.evaluation.metrics.statistics import image_statistics
from bids_mmh.evaluation.segmentation import BuiltInSegmenter
from bids_mmh.evaluation.subject_metrics import HARMONIZED
from bids_mmh.group.evaluation import subject_jobs
from bids_mmh.group.evaluation.evaluate import evaluate_study
from bids_mmh.group.evaluation.rows import evaluation_rows
from bids_mmh.group.report import write_study
from bids_mmh.preprocess.grid import model_grid

GRID = model_grid(8)
CONTRAST = {"A": 1.0, "B": 0.5, "C": 0.7}
TRAVELLERS, RESIDENTS = ("t1", "t2", "t3"), {"r1": "A", "r2": "A", "r3": "B", "r4": "B"}
NOBODY = TrainedSubjects({}, ())


@pytest.fixture(scope="module")
def segmenter():
    return BuiltInSegmenter()


@pytest.fixture(scope="module", autouse=True)
def quick(segmenter):
    """Few permutations, one segmenter, and features without a network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_mmh.evaluation.probes.site_probe.PERMUTATIONS", 3)
        patch.setattr("bids_mmh.group.evaluation.evaluate.find_segmenter", lambda *_, **__: segmenter)
        patch.setattr(
            "bids_mmh.evaluation.subject_metrics.random_features",
            lambda volumes: np.stack([volume[:, 11, 4:20].ravel()[:64] for volume in volumes]),
        )
        yield


@pytest.fixture(scope="module")
def brains(template_tissues):
    """A brain for each subject, all with the template's tissues."""
    mask = np.zeros(GRID.shape, bool)
    mask[3:-3, 3:-3, 8:-5] = True
    tissues = np.array([-0.8, 0.0, 0.6])[template_tissues(GRID.shape)]

    def brain(number):
        noise = np.random.default_rng(number).normal(0, 0.15, GRID.shape)
        return np.where(mask, np.clip(tissues + noise, -0.99, 0.99), -1)

    return brain, mask


@pytest.fixture(scope="module")
def write_scan(write_derivative):
    """Write a scan whose contrast is the site's, and its harmonized version, which has that of site A."""

    def write(root, subject, site, brain, mask, *, target):
        raw, done = (brain + 1) * CONTRAST[site] - 1, brain
        before, after = (image_statistics(volume[mask]).to_dict() for volume in (raw, done))
        model = Model(name="study", sha256="0" * 64, target=target)
        harmonized = {"model": model, "anatomy_preservation": 0.99}
        for kind, volume, statistics, fields in (
            ("preproc", raw, {"before": before}, {}),
            ("harmonized", done, {"before": before, "after": after}, harmonized),
        ):
            write_derivative(
                root,
                {"subject": subject, "session": site},
                np.where(mask, (volume + 1.2) * 100, 0),
                mask,
                kind=kind,
                scaling=(0.01, -1.2),
                res="8",
                affine=GRID.affine,
                site=site,
                image_statistics=ImageStatistics(**statistics),
                **fields,
            )

    return write


@pytest.fixture(scope="module")
def write_study_of(brains, write_scan):
    def write(root, *, target="A", travellers=TRAVELLERS, residents=RESIDENTS):
        brain, mask = brains
        visits = [(subject, site) for subject in travellers for site in CONTRAST] + list(residents.items())
        for subject, site in visits:
            write_scan(root, subject, site, brain(sum(map(ord, subject))), mask, target=target)
        return root

    return write


@pytest.fixture
def make_study(tmp_path, write_study_of):
    return lambda **options: write_study_of(tmp_path / "out", **options)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, write_study_of):
    """A study, and beside it the work folder that an evaluation has left."""
    folder = tmp_path_factory.mktemp("evaluated")
    evaluate(write_study_of(folder / "out"))
    return folder


@pytest.fixture
def study(evaluated, tmp_path):
    """A study that was evaluated before: what stays as it is is not measured again."""
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


def settings(root, **changes):
    given = {"output_dir": root, "work_dir": root.parent / "work", "nprocs": 1, "mem": None}
    given |= {"random_seed": 0, "evaluation_scans": 120, "target_site": "auto", "no_evaluation": False}
    return SimpleNamespace(**given | changes)


def evaluate(root, trained=NOBODY, ages=None, **changes):
    (part,) = evaluate_study(settings(root, **changes), study_rows(root, ("T1w",)), trained, ages or {})
    return part


def test_travelling_subjects_are_compared_at_the_target_of_the_model(study):
    part = evaluate(study)
    assert part.target == "A"
    pairs = [(pair.scan, pair.other) for subject in part.subjects.values() for pair in subject.pairs]
    assert len(pairs) == 2 * len(TRAVELLERS)
    assert {other.split("_")[1] for _, other in pairs} == {"ses-A"}
    methods = part.summary.methods
    assert list(methods) == [*CONTROLS, HARMONIZED]
    assert methods[HARMONIZED].likeness["ssim"].mean > 0.999 > methods[RAW].likeness["ssim"].mean
    assert methods[HARMONIZED].likeness["wd"].p < 0.05
    assert methods[HARMONIZED].inter_site_wd < methods[RAW].inter_site_wd
    assert "13 scans of 7 subjects at 3 sites, 3 of whom" in part.notes[0]


def test_without_a_target_sites_are_compared_with_each_other(make_study):
    part = evaluate(make_study(target="unified", travellers=TRAVELLERS[:2]))
    assert part.target is None
    assert sum(len(subject.pairs) for subject in part.subjects.values()) == 3 * 2
    assert any("has no target site" in note for note in part.notes)


def test_a_target_that_was_asked_for_is_taken(make_study):
    root = make_study(target="unified", travellers=TRAVELLERS[:1])
    assert evaluate(root, target_site="B").target == "B"
    assert evaluate(root, target_site="none").target is None


def test_fitting_and_evaluating_never_share_subjects(make_study):
    trained = TrainedSubjects({"sub-t1": "train", "sub-r3": "validation"}, ())
    part = evaluate(make_study(), trained)
    measured = {scan.subject for scan in part.scans} | set(part.subjects)
    assert measured == {"sub-t2", "sub-t3", "sub-r1", "sub-r2", "sub-r4"}
    assert part.trained_on == 2
    assert any("2 subjects that the model was trained or validated on" in note for note in part.notes)


def test_controls_never_learn_from_the_subject_they_are_used_on(make_study, monkeypatch):
    seen = {}

    def spy(scans, pairs, fit, segmenter, **options):
        own = {scan.subject for scan in scans}
        seen[next(iter(own))] = fit.reference.subject
        raise BadDataError("It is enough to know by whom the controls were fitted.")

    monkeypatch.setattr(subject_jobs, "measure_subject", spy)
    evaluate(make_study())
    assert len(seen) == 7
    assert all(subject != reference for subject, reference in seen.items())


def test_only_what_changed_is_measured_again(make_study, monkeypatch):
    root = make_study(travellers=TRAVELLERS[:1])
    before = evaluate(root)
    measured = []

    def spy(scans, *rest, **options):
        measured.append(scans[0].subject)
        return measure_subject(scans, *rest, **options)

    measure_subject = subject_jobs.measure_subject
    monkeypatch.setattr(subject_jobs, "measure_subject", spy)
    again = evaluate(root)
    assert measured == []
    assert repr(again.summary) == repr(before.summary)  # not-a-number equals nothing
    image = next(root.glob("sub-r4/*/anat/*_desc-harmonized_T1w.nii.gz"))
    image.write_bytes(image.read_bytes())
    evaluate(root)
    assert measured == ["sub-r4"]


def test_scan_that_cannot_be_read_is_a_sentence_and_the_others_are_measured(study):
    next(study.glob("sub-r3/*/anat/*_desc-harmonized_T1w.nii.gz")).write_bytes(b"no image")
    part = evaluate(study)
    assert any("sub-r3 could not be measured" in sentence for sentence in part.skipped)
    assert "sub-r3" not in {scan.subject for scan in part.scans}
    assert part.summary is not None


def test_metrics_kept_in_an_older_format_are_measured_again(make_study, monkeypatch):
    root = make_study(travellers=("t1",))
    kept = root.parent / "work"

    def keys():
        return {json.loads(path.read_text())["Key"] for path in kept.rglob("sub-*.json")}

    with monkeypatch.context() as older:
        older.setattr(subject_jobs, "FORMAT", subject_jobs.FORMAT - 1)
        evaluate(root)
    before = keys()
    evaluate(root)
    assert len(before) == 5
    assert not before & keys()


def test_combat_has_metrics_of_volumes_alone(study):
    part = evaluate(study)
    assert list(part.summary.volumes) == [*CONTROLS, COMBAT, HARMONIZED]
    rows = [row for row in evaluation_rows(part) if row.method == COMBAT]
    assert {row.measure for row in rows if row.level == "study"} == {
        "regional_site_accuracy",
        "regional_site_chance",
        "regional_site_null_high",
    }
    assert [row.measure for row in rows if row.level == "scan"] == ["regional_grey_matter"] * 13
    assert any(note.startswith("ComBat was fitted without covariates") for note in part.notes)


def test_what_is_missing_is_a_sentence(make_study):
    part = evaluate(make_study(travellers=()))
    text = " ".join(part.skipped)
    assert "none of the measured subjects was scanned at two sites" in text
    assert "Age regression: The age of 0 subjects is known" in text
    everybody = TrainedSubjects({f"sub-{name}": "train" for name in RESIDENTS}, ())
    assert "trained on all subjects" in evaluate(make_study(travellers=()), everybody).skipped[0]


def test_big_studies_are_sampled_and_say_so(make_study):
    part = evaluate(make_study(), evaluation_scans=8)
    assert len(part.scans) <= 8
    assert any("fixed sample of 13 scans" in note for note in part.notes)


def test_synthseg_measures_fewer_scans_by_default(make_study, monkeypatch):
    monkeypatch.setattr("bids_mmh.group.evaluation.evaluate.MOST_SCANS_SYNTHSEG", 4)
    root = make_study(travellers=("t1",))
    assert len(evaluate(root, evaluation_scans=None).scans) == 7
    monkeypatch.setattr(
        "bids_mmh.group.evaluation.evaluate.synthseg_executable", lambda: Path("mri_synthseg")
    )
    assert len(evaluate(root, evaluation_scans=None).scans) == 4


def test_page_and_tables_of_an_evaluated_study(study):
    root = study
    (root / "participants.tsv").write_text("participant_id\tage\nsub-t1\t30\nsub-t2\told\n")
    write_study(settings(root), study_rows(root, ("T1w",)), [], {"Choice": [{"site": "A", "target": "yes"}]})
    with (root / "evaluation_T1w_table.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert list(json.loads((root / "evaluation_T1w_table.json").read_text())) == list(rows[0])
    of_study = {(r["method"], r["measure"]): r for r in rows if r["level"] == "study"}
    pairs = [
        float(r["value"]) for r in rows if (r["level"], r["method"], r["measure"]) == ("pair", RAW, "ssim")
    ]
    assert len(pairs) == 6
    assert float(of_study[RAW, "ssim"]["value"]) == pytest.approx(np.mean(pairs), abs=1e-5)
    assert of_study[HARMONIZED, "ssim"]["p"] != "n/a" == of_study[RAW, "ssim"]["p"]
    page = (root / "group.html").read_text()
    for text in (
        "Measured: 13 scans of 7 subjects at 3 sites",
        "6 pairs of 3 travelling subjects",
        "Chance is 0.33 with 3 sites",
        "Regional volumes: sites and age, beside ComBat",
        "Mean age in years by site (subjects of known age): A 30.0 (1), B 30.0 (1), C 30.0 (1).",
        "WD is next to 0 for histogram matching by construction",
        "1 ages are no ages (&#39;old&#39; (sub-t2))",
        "evaluation_T1w_table.tsv",
        "Billot" if "SynthSeg" in page else "Ashburner",
    ):
        assert text in page
    assert page.count("<img") >= 6  # matrix, histograms, strips, violins, two pictures, map
    assert not re.search(r'(?:src|href)="(?!data:|#|evaluation_|group_|site_distances_)', page)
    with (root / "group_T1w_table.tsv").open(newline="") as stream:
        ages = {row["participant_id"]: row["age"] for row in csv.DictReader(stream, delimiter="\t")}
    assert (ages["sub-t1"], ages["sub-t2"]) == ("30.0", "n/a")
    assert (root / "logs" / "CITATION_group.md").is_file()


def test_without_evaluation_no_image_is_read(make_study, monkeypatch):
    root = make_study(travellers=())
    monkeypatch.setattr(nib.Nifti1Image, "from_filename", None)
    write_study(settings(root, no_evaluation=True), study_rows(root, ("T1w",)), [])
    assert not (root / "evaluation_T1w_table.tsv").exists()
    assert "Evaluation</h3>" not in (root / "group.html").read_text()


@pytest.mark.slow
def test_processes_that_share_the_work_find_the_same(study):
    alone = evaluate(study)
    shared = evaluate(study, nprocs=4, work_dir=study.parent / "other work")
    for method, summary in alone.summary.methods.items():
        assert shared.summary.methods[method].likeness["ssim"].mean == pytest.approx(
            summary.likeness["ssim"].mean
        )


def test_without_a_work_folder_nothing_is_kept_and_all_is_measured(make_study):
    part = evaluate(make_study(travellers=("t1",)), work_dir=Path("/proc/nowhere"))
    assert len(part.scans) == 3 + len(RESIDENTS)


def test_jobs_can_be_sent_to_other_processes(make_study, monkeypatch):
    sent = []

    def spy(*arguments):
        sent.append(pickle.loads(pickle.dumps(arguments)))
        return "It is enough to know what is sent."

    monkeypatch.setattr(subject_jobs, "_measure", spy)
    evaluate(make_study(travellers=("t1",)))
    assert {job.subject for job, *_ in sent} == {"sub-t1", *(f"sub-{name}" for name in RESIDENTS)}
