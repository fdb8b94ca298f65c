"""File names of BIDS derivatives: source entities kept, in the order that BIDS prescribes."""

from collections.abc import Mapping
from pathlib import Path

# Key in a file name -> name that pybids gives the entity, in the order of the BIDS schema. The transform
# entities (from, to, mode) are not in BIDS yet and stand where fMRIPrep and its users expect them.
ENTITIES: Mapping[str, str] = {
    "sub": "subject",
    "ses": "session",
    "sample": "sample",
    "task": "task",
    "tracksys": "tracksys",
    "acq": "acquisition",
    "nuc": "nucleus",
    "voi": "volume",
    "ce": "ceagent",
    "trc": "tracer",
    "stain": "staining",
    "rec": "reconstruction",
    "dir": "direction",
    "run": "run",
    "mod": "modality",
    "echo": "echo",
    "flip": "flip",
    "inv": "inv",
    "mt": "mt",
    "part": "part",
    "proc": "proc",
    "hemi": "hemi",
    "space": "space",
    "split": "split",
    "recording": "recording",
    "chunk": "chunk",
    "from": "from",
    "to": "to",
    "mode": "mode",
    "seg": "segmentation",
    "res": "res",
    "den": "den",
    "label": "label",
    "desc": "desc",
}
_NOT_IN_NAMES = {"suffix", "extension", "datatype"}


def derivative_name(
    entities: Mapping[str, str],
    *,
    suffix: str,
    extension: str,
    space: str | None = None,
    res: str | None = None,
    desc: str | None = None,
    **extra: str,
) -> str:
    """Name a derivative of a scan.

    Args:
        entities: Entities of the source scan under pybids' names (``{"subject": "01", "run": "2", ...}``);
            ``suffix``, ``extension`` and ``datatype`` are ignored.
        suffix: Last part of the name, such as ``T1w`` or ``mask``.
        extension: With its dot, such as ``.nii.gz``.
        space: Standard space, or None in the scan's own space.
        res: Resolution label.
        desc: Description label.
        **extra: Further entities by their key in file names, such as ``label="GM"``.

    Returns:
        ``sub-01_ses-A_run-2_space-X_desc-Y_T1w.nii.gz``.

    Raises:
        ValueError: When an entity is unknown to BIDS or its value is not a plain label.
    """
    values = {name: value for name, value in entities.items() if name not in _NOT_IN_NAMES}
    added = {"space": space, "res": res, "desc": desc, **extra}
    values |= {ENTITIES.get(key, key): value for key, value in added.items() if value is not None}
    unknown = values.keys() - ENTITIES.values()
    if unknown:
        raise ValueError(f"not entities of BIDS: {', '.join(sorted(unknown))}")
    parts = [f"{key}-{_label(values[name])}" for key, name in ENTITIES.items() if name in values]
    return "_".join([*parts, suffix]) + extension


def derivative_path(
    out_dir: Path,
    entities: Mapping[str, str],
    *,
    suffix: str,
    extension: str,
    space: str | None = None,
    res: str | None = None,
    desc: str | None = None,
    **extra: str,
) -> Path:
    """Place a derivative: ``out_dir/sub-X[/ses-Y]/anat/`` and the name of :func:`derivative_name`."""
    name = derivative_name(
        entities, suffix=suffix, extension=extension, space=space, res=res, desc=desc, **extra
    )
    return session_folder(out_dir, entities) / "anat" / name


def transform_name(entities: Mapping[str, str], source: str, target: str, extension: str = ".txt") -> str:
    """Name a spatial transform of images from ``source`` to ``target`` (a sequence or a space)."""
    return derivative_name(
        entities, suffix="xfm", extension=extension, **{"from": source, "to": target, "mode": "image"}
    )


def session_folder(out_dir: Path, entities: Mapping[str, str]) -> Path:
    """Folder of a session below ``out_dir``: ``sub-X``, or ``sub-X/ses-Y`` where there are sessions."""
    folder = out_dir / f"sub-{entities['subject']}"
    return folder / f"ses-{entities['session']}" if entities.get("session") else folder


def mask_desc(is_anchor: bool, sequence: str) -> str:
    """``desc-`` label of a brain mask: the suffix ``mask`` does not say of which sequence it is.

    Args:
        is_anchor: Whether the scan is the one that the session was registered by (its T1w, as a rule).
        sequence: Suffix of the scan, such as ``T2w``.

    Returns:
        ``brain`` for the anchor, ``brainT2w`` and the like for the others.
    """
    return "brain" if is_anchor else f"brain{sequence}"


def voxel_size(path: Path) -> float:
    """Voxel size in mm that the ``res-`` label of a file tells; 1 where there is none or it is no number."""
    label = next((part[4:] for part in path.name.split("_") if part.startswith("res-")), "1")
    try:
        return float(label)
    except ValueError:
        return 1.0


def _label(value: str) -> str:
    """Check that a value can stand in a file name (letters, digits, plus) and return it."""
    if not value.replace("+", "").isalnum():
        raise ValueError(f"'{value}' cannot stand in a BIDS file name: use letters and digits only")
    return value
