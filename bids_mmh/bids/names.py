"""File names of BIDS derivatives: source entities kept, in the order that BIDS prescribes."""

from collections.abc import Mapping
from dataclasses import dataclass
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
# Entities that derivatives have and raw scans lack.
DERIVED = frozenset({"space", "res", "desc", "label", "from", "to", "mode"})


@dataclass(frozen=True)
class DerivativeName:
    """What the name of a derivative says.

    Attributes:
        entities: label by key in file names, in the order of the name; empty where a part has no dash.
        suffix: last part of the name, such as ``T1w``.
    """

    entities: Mapping[str, str]
    suffix: str

    @property
    def participant_id(self) -> str:
        """Subject with its ``sub-``."""
        return f"sub-{self.entities['sub']}"

    @property
    def session(self) -> str | None:
        """Session label without its ``ses-``; None in a dataset without sessions."""
        return self.entities.get("ses")

    @property
    def source(self) -> str:
        """Name of the raw scan without its extension: the entities that it has, and the suffix."""
        own = [f"{key}-{label}" for key, label in self.entities.items() if key not in DERIVED]
        return "_".join([*own, self.suffix])

    @property
    def source_entities(self) -> dict[str, str]:
        """Entities of the raw scan under pybids' names."""
        return {ENTITIES.get(k, k): label for k, label in self.entities.items() if k not in DERIVED}

    @property
    def labels(self) -> dict[str, str]:
        """The entities that the raw scan lacks, by key."""
        return {key: label for key, label in self.entities.items() if key in DERIVED}

    @property
    def space(self) -> str:
        """Template space; empty in the scan's own space."""
        return self.entities.get("space", "")

    @property
    def spacing(self) -> float:
        """Voxel size in mm that the ``res-`` label tells; 1 where there is none or it is no number."""
        try:
            return float(self.entities.get("res", "1"))
        except ValueError:
            return 1.0


def parse_name(name: str) -> DerivativeName:
    """Take the name of a derivative apart.

    Args:
        name: with or without an extension.

    >>> parse_name("sub-01_run-2_space-MNI_res-2_desc-preproc_T1w.nii.gz").source
    'sub-01_run-2_T1w'
    """
    stem = name.partition(".")[0]
    *pairs, suffix = stem.split("_")
    return DerivativeName(dict(pair.partition("-")[::2] for pair in pairs), suffix)


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


def session_folder(out_dir: Path, entities: Mapping[str, str]) -> Path:
    """Folder of a session below ``out_dir``: ``sub-X``, or ``sub-X/ses-Y`` where there are sessions."""
    folder = out_dir / f"sub-{entities['subject']}"
    return folder / f"ses-{entities['session']}" if entities.get("session") else folder


def voxel_size(path: Path) -> float:
    """Voxel size in mm that the ``res-`` label of a file tells; 1 where there is none or it is no number."""
    return parse_name(path.name).spacing


def is_label(value: str) -> bool:
    """Whether an entity of BIDS may have this value: letters, digits and plus."""
    return value.replace("+", "").isalnum()


def _label(value: str) -> str:
    """Check that a value can stand in a file name and return it."""
    if not is_label(value):
        raise ValueError(f"'{value}' cannot stand in a BIDS file name: use letters and digits only")
    return value
