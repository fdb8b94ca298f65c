"""What other programs, or the user, left for a scan: found by BIDS names, not yet looked into."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from bids_mmh.bids.names import DERIVED, ENTITIES, DerivativeName, parse_name, session_folder
from bids_mmh.bids.provenance import bids_uri
from bids_mmh.bids.session import Scan
from bids_mmh.derivatives.outputs import OUTPUTS, mask_label
from bids_mmh.errors import NoInputError, UsageError

_IMAGES = (".nii.gz", ".nii")
# ITK's linear transforms are text; fMRIPrep's .h5 files hold warps, which the model was not made for.
_TRANSFORMS = (".txt", ".tfm", ".mat")


@dataclass(frozen=True)
class FoundFile:
    """A file of a derivative dataset.

    Attributes:
        path: where it is.
        uri: BIDS URI with the dataset's name, for ``Sources``.
    """

    path: Path
    uri: str


@dataclass(frozen=True)
class Precomputed:
    """What was found for one scan; None where there is nothing.

    Attributes:
        preproc: bias-corrected image in the scan's own space.
        mask: brain mask in the scan's own space.
        to_template: linear transform of the scan to the template.
        to_anchor: linear transform of the scan to the session's anchor.
        standard: preprocessed image in the template's space.
        standard_mask: its brain mask.
    """

    preproc: FoundFile | None = None
    mask: FoundFile | None = None
    to_template: FoundFile | None = None
    to_anchor: FoundFile | None = None
    standard: FoundFile | None = None
    standard_mask: FoundFile | None = None

    def files(self) -> list[FoundFile]:
        """All files found."""
        return [found for field in fields(self) if (found := getattr(self, field.name)) is not None]


def only_standard(session: Sequence[Precomputed]) -> bool:
    """Whether a session can start from images in template space, and from nothing better.

    Args:
        session: what was found for each of its scans.

    Returns:
        True when every scan has such an image with its mask, and not every scan has what replaces all steps
        in its own space: image, mask and transform.
    """
    standard = all(given.standard and given.standard_mask for given in session)
    native = all(g.preproc and g.mask and (g.to_template or g.to_anchor) for g in session)
    return standard and not native


def check_datasets(folders: Mapping[str, Path]) -> None:
    """See that every derivative dataset is there and holds subjects.

    Args:
        folders: root folders by name.

    Raises:
        NoInputError: a folder does not exist or has no ``sub-*``.
    """
    for name, folder in folders.items():
        if not folder.is_dir():
            raise NoInputError(f"--derivatives {name}: the folder {folder} does not exist: check the path.")
        if not any(folder.glob("sub-*")):
            raise NoInputError(
                f"--derivatives {name}: {folder} holds no sub-* folder: give the root of a dataset."
            )


def find_precomputed(scan: Scan, anchor: Scan, space: str, folders: Mapping[str, Path]) -> Precomputed:
    """Find what derivative datasets hold for a scan; of several datasets the first that has a kind wins.

    A file belongs to the scan when its subject and session are the scan's and none of its other entities
    contradicts the scan's; of several the one that shares the most entities counts.

    Args:
        scan: the scan.
        anchor: the scan that its session is registered by.
        space: template space of the run.
        folders: root folders of the datasets by name.

    Raises:
        UsageError: two files fit equally well.
    """
    return Precomputed(
        **{
            kind: next(
                (file for name, root in folders.items() if (file := _find(scan, name, root, want))), None
            )
            for kind, want in _wanted(scan, anchor, space).items()
        }
    )


@dataclass(frozen=True)
class _Wanted:
    """How a kind of file is named: suffix, extensions, and the derived entities, the plainest set first."""

    suffix: str
    labels: list[dict[str, str]]
    extensions: tuple[str, ...] = _IMAGES


def _wanted(scan: Scan, anchor: Scan, space: str) -> dict[str, _Wanted]:
    """Names of our own outputs, and what other programs call the same."""
    is_anchor, sequence = scan.path == anchor.path, scan.sequence
    values = {"sequence": sequence, "space": space, "res": "1", "anchor": anchor.sequence}
    ours = {
        key: output.labels(**values, brain=mask_label(is_anchor, sequence))
        for key, output in OUTPUTS.items()
        if "{scan}" in output.pattern
    }
    masks = [ours["native_mask"], {"desc": "brain", "space": sequence}]
    # A mask without the sequence in its name is the anchor's; a T2w that stands alone is its own anchor.
    masks += [{"desc": f"brain{sequence}"}, {"label": "brain"}] if is_anchor else []
    own = [{}, {"space": sequence}, {"space": "orig"}]
    wanted = {
        "preproc": _Wanted(sequence, [where | ours["native_preproc"] for where in own]),
        "mask": _Wanted("mask", masks),
        "to_template": _Wanted("xfm", [ours["to_template"]], _TRANSFORMS),
        "standard": _Wanted(sequence, _any_resolution(ours["mni_preproc"])),
        "standard_mask": _Wanted("mask", _any_resolution(ours["mni_mask"])),
    }
    if not is_anchor:
        wanted["to_anchor"] = _Wanted("xfm", [ours["to_anchor"]], _TRANSFORMS)
    return wanted


def _any_resolution(labels: Mapping[str, str]) -> list[dict[str, str]]:
    """The labels of an image of 1 mm in template space, with and without its resolution."""
    plain = {key: label for key, label in labels.items() if key != "res"}
    return [plain, *(plain | {"res": label} for label in ("1", "01"))]


def _find(scan: Scan, dataset: str, root: Path, want: _Wanted) -> FoundFile | None:
    ranked: dict[tuple[int, int], list[Path]] = {}
    for path, name in _candidates(scan, root, want):
        shared = _shared(name, scan)
        if name.labels in want.labels and shared is not None:
            ranked.setdefault((shared, -want.labels.index(name.labels)), []).append(path)
    if not ranked:
        return None
    best = ranked[max(ranked)]
    if len(best) > 1:
        names = " and ".join(path.name for path in sorted(best))
        raise UsageError(
            f"--derivatives {dataset}: {names} both fit {scan.path.name}: leave only one of them."
        )
    return FoundFile(best[0], bids_uri(dataset, best[0], root))


def _candidates(scan: Scan, root: Path, want: _Wanted) -> Iterator[tuple[Path, DerivativeName]]:
    folder = session_folder(root, scan.entities) / "anat"
    for extension in want.extensions:
        for path in sorted(folder.glob(f"sub-*_{want.suffix}{extension}")):
            name = parse_name(path.name.removesuffix(extension))
            if all(name.entities.values()):
                yield path, name


def _shared(name: DerivativeName, scan: Scan) -> int | None:
    """How many entities a file shares with the scan; None where one contradicts it or the subject differs."""
    own = {key: scan.entities[entity] for key, entity in ENTITIES.items() if entity in scan.entities}
    theirs = {key: value for key, value in name.entities.items() if key not in DERIVED}
    if any(own.get(key) != value for key, value in theirs.items()):
        return None
    if any(theirs.get(key) != own[key] for key in ("sub", "ses") if key in own):
        return None
    return len(theirs)
