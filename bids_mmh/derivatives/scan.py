"""One derived scan: an image in template space, its brain mask, and what its sidecar says."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bids_mmh.bids.names import DerivativeName, parse_name
from bids_mmh.derivatives.sidecar import Sidecar
from bids_mmh.errors import BadDataError

UNKNOWN_SITE = "n/a"


@dataclass(frozen=True)
class DerivedScan:
    """A preprocessed or harmonized scan in template space.

    Attributes:
        image: the image.
        mask: its brain mask, on the same voxels.
        sequence: BIDS suffix.
        site: site, ``n/a`` if unknown.
        subject: with its ``sub-``. A label names one subject, in whichever folders it occurs.
        slope: of the linear map of stored to scaled intensities, about [−1, 1] in the brain.
        intercept: of the same map.
        session: label without its ``ses-``, None if the scan has none.
    """

    image: Path
    mask: Path
    sequence: str
    site: str
    subject: str
    slope: float
    intercept: float
    session: str | None = None

    @property
    def sidecar(self) -> Path:
        """The JSON file beside the image."""
        return self.image.with_suffix("").with_suffix(".json")

    def version(self, desc: str) -> Path:
        """Sidecar of another version of the scan on the same grid, ``preproc`` or ``harmonized``."""
        own = f"_desc-{self.name.entities['desc']}_"
        return self.sidecar.with_name(self.sidecar.name.replace(own, f"_desc-{desc}_"))

    @cached_property
    def fields(self) -> Sidecar:
        """What that says, read when it is first asked for.

        Raises:
            BadDataError: it is gone or damaged.
        """
        return Sidecar.read(self.sidecar)

    @cached_property
    def name(self) -> DerivativeName:
        """What the name of the image says: entities, space and voxel size."""
        return parse_name(self.image.name)


def read_derived(sidecar: Path) -> DerivedScan:
    """Read where a scan is and what it is from the sidecar of its preprocessed or harmonized image.

    Args:
        sidecar: of an image in template space.

    Raises:
        BadDataError: the sidecar lacks something, or its image or mask is missing.
    """
    scan = _scan(sidecar)
    for file in (scan.image, scan.mask):
        if not file.is_file():
            raise BadDataError(
                f"{file} is missing, though {sidecar.name} names it: preprocess the scan again."
            )
    return scan


def _scan(sidecar: Path) -> DerivedScan:
    try:
        fields = Sidecar.read(sidecar)
        lacks = fields.lacking("site", "sequence", "brain_mask", "intensity_scaling")
    except BadDataError as error:
        raise _foreign(sidecar, str(error)) from error
    if lacks or fields.intensity_scaling is None:
        raise _foreign(sidecar, f"it lacks {lacks}")
    name = parse_name(sidecar.name)
    return DerivedScan(
        image=sidecar.with_suffix(".nii.gz"),
        mask=sidecar.parent / Path(str(fields.brain_mask)).name,  # never outside the folder
        sequence=str(fields.sequence),
        site=fields.site or UNKNOWN_SITE,
        subject=name.participant_id,
        slope=fields.intensity_scaling.slope,
        intercept=fields.intensity_scaling.intercept,
        session=name.session,
    )


def _foreign(sidecar: Path, reason: str) -> BadDataError:
    return BadDataError(f"{sidecar} is not a sidecar of this tool ({reason}): preprocess the scan again.")
