"""The dataset-level files: description, participants and README."""

from pathlib import Path

from bids_mmh.phantom.files import write_json, write_tsv
from bids_mmh.phantom.head.subject import draw_subject
from bids_mmh.phantom.imaging.acquisition import draw_site
from bids_mmh.phantom.plan import Plan

_PARTICIPANTS = {
    "age": {
        "Description": "Simulated age; ventricles and sulci widen with it.",
        "Units": "year",
    },
    "sex": {"Description": "Sex of the simulated person.", "Levels": {"F": "female", "M": "male"}},
    "site": {"Description": "Scanner; n/a for travelling subjects, whose sessions are named after scanners."},
}
_SESSIONS = {"site": {"Description": "Scanner of the session."}}
_README = """# Travelling-subject phantom

Simulated heads, not people. Subjects: {plan.subjects}; sites: {plan.sites}; subjects that travelled: the
first {plan.travelling}, to {stops} sites each; seed: {plan.seed}; base voxel size: {plan.resolution:g} mm.

The heads are made of the MNI152 (ICBM 2009a, nonlinear, symmetric) tissue maps that nilearn ships, deformed
for each subject, with skull, scalp, face and neck drawn around them. Signals come from the equations of
spoiled gradient echo, MPRAGE and spin echo with relaxation times from the literature. Sites differ in field
strength, timing, flip angle, receive field, noise, sharpness, voxel size, orientation and data type.

If it is there, derivatives/truth holds tissue labels, brain masks, receive fields, the noise-free image of
one reference scanner, and the transform to the template, for each scan.

## Licence

The template is Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University. Permission to use, copy, modify, and distribute it for any purpose and without
fee is granted, provided that this copyright notice appears in all copies; it is provided "as is", without
warranty. The same holds for this dataset.
"""


def write_description(folder: Path, plan: Plan, version: str) -> None:
    """Write dataset_description.json, participants.tsv, the data dictionaries and the README.

    Args:
        folder: Folder of the dataset.
        plan: Size and seed of the dataset.
        version: Version of this package.
    """
    write_json(
        folder / "dataset_description.json",
        {
            "Name": "Travelling-subject phantom",
            "BIDSVersion": "1.10.0",
            "DatasetType": "raw",
            "License": "free for any purpose with the copyright notice in README",
            "Authors": ["bids-mmh developers"],
            "GeneratedBy": [{"Name": "bids-mmh-phantom", "Version": version}],
        },
    )
    rows = [_participant(plan, number) for number in range(plan.subjects)]
    write_tsv(folder / "participants.tsv", ("participant_id", "age", "sex", "site"), rows)
    write_json(folder / "participants.json", _PARTICIPANTS)
    if plan.travelling:
        write_json(folder / "sessions.json", _SESSIONS)
    (folder / "README").write_text(
        _README.format(plan=plan, stops=plan.visits or plan.sites), encoding="utf-8"
    )


def _participant(plan: Plan, number: int) -> tuple[str, int, str, str]:
    subject = draw_subject(plan.seed, number)
    home = "n/a" if number < plan.travelling else draw_site(plan.seed, plan.sites_of(number)[0]).name
    return f"sub-{subject.label}", subject.age, subject.sex, home
