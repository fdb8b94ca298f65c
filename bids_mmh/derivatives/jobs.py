"""What is to be done: a scan and a session with everything that decides their outputs."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bids_mmh import __version__
from bids_mmh.bids.session import Scan, Session
from bids_mmh.derivatives.external_derivatives import Precomputed
from bids_mmh.derivatives.models import ModelReference
from bids_mmh.derivatives.outputs import OUTPUTS, mask_label
from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.derivatives.sidecar import Sidecar
from bids_mmh.errors import BadDataError
from bids_mmh.files import fingerprint
from bids_mmh.preprocess.template import Template
from bids_mmh.settings import Settings, configuration_hash


@dataclass(frozen=True)
class ScanJob:
    """What is known of a scan before any work: where it comes from and where it goes.

    Attributes:
        scan: the raw scan with its site.
        anchor: the scan its session is registered by (itself, as a rule its T1w).
        space: template space of the derivatives.
        spacing: voxel size of the model's grid in mm.
        settings: options of the run.
        model: the model, None when only preprocessing.
        preprocessed: what an earlier run has made of the scan; None for one that this run preprocesses by
            its own settings.
        given: what derivative datasets hold of the scan.
        anchor_given: what they hold of the anchor.
        from_standard: whether its image in template space among these takes the raw scan's place.
    """

    scan: Scan
    anchor: Scan
    space: str
    spacing: float
    settings: Settings
    model: ModelReference | None
    preprocessed: DerivedScan | None = None
    given: Precomputed = field(default_factory=Precomputed)
    anchor_given: Precomputed = field(default_factory=Precomputed)
    from_standard: bool = False

    @property
    def is_anchor(self) -> bool:
        """Whether the session is registered by this scan."""
        return self.scan.path == self.anchor.path

    @property
    def preprocessing_hash(self) -> str:
        """Digest of everything that alters the preprocessed scan."""
        if self.preprocessed is not None:
            return str(self.preprocessed.fields.configuration_hash)
        return self.settings.preprocessing_hash()

    def configuration_hash(self, output: str) -> str:
        """Digest of the options and the model that alter one of the scan's images.

        Args:
            output: its key in :data:`bids_mmh.derivatives.outputs.OUTPUTS`.
        """
        if self.model is None or output.endswith(("preproc", "mask")):
            return self.preprocessing_hash
        # In template space what lies outside of the brain is always zero.
        outside = self.settings.outside if output == "native_harmonized" else None
        return configuration_hash(self.preprocessing_hash, self.model.sha256, outside)

    def path(self, output: str) -> Path:
        """Path of one of the scan's derivatives.

        Args:
            output: its key in :data:`bids_mmh.derivatives.outputs.OUTPUTS`.
        """
        return OUTPUTS[output].path(
            self.settings.output_dir,
            self.scan.entities,
            sequence=self.scan.sequence,
            space=self.space,
            res=f"{self.spacing:g}",
            brain=mask_label(self.is_anchor, self.scan.sequence),
            anchor=self.anchor.sequence,
        )

    def sidecar(self, output: str) -> Path:
        """Path of the sidecar of an image; see :meth:`path`."""
        return self.path(output).with_suffix("").with_suffix(".json")

    def expected(self) -> list[Path]:
        """Every image and transform that must exist for the scan to count as done."""
        kinds = ["preproc", "mask"] if self.model is None else ["preproc", "harmonized", "mask"]
        paths = [self.path(f"{space}_{kind}") for space in self.wanted_spaces() for kind in kinds]
        # An image that lay in template space before does not show how the raw scan got there.
        return paths if self.from_standard else [*paths, self.path("to_template")]

    def is_done(self) -> bool:
        """Whether all outputs exist and were made by this version with these settings from these files.

        The scan's site, its raw file and what derivative datasets hold of it count as well.
        """
        if not all(path.is_file() for path in self.expected()):
            return False
        if self.model is None:
            return self.is_current("preproc")
        native = "native_harmonized"
        return self.is_current("harmonized") and (
            "native" not in self.wanted_spaces() or self._has_options(native, self._fields(native))
        )

    def is_current(self, kind: str) -> bool:
        """Whether an image in template space was made by this version with these settings from these files.

        Args:
            kind: ``preproc`` or ``harmonized``.
        """
        output = f"mni_{kind}"
        fields = self._fields(output)
        return (
            self._has_options(output, fields)
            and not fields.lacking("site")
            and fields.site == self.scan.site
            and fields.raw_fingerprint == self.raw_fingerprint
            and fields.anchor_fingerprint == self.anchor_fingerprint
            and dict(fields.derivatives_found or {}) == self.derivatives_found()
        )

    def _has_options(self, output: str, fields: Sidecar) -> bool:
        """Whether an image with such a sidecar was made by this version with these options and this model."""
        return (
            fields.generated_by is not None
            and fields.generated_by.version == __version__
            and fields.configuration_hash == self.configuration_hash(output)
        )

    def _fields(self, output: str) -> Sidecar:
        """The sidecar of an image; an empty one where there is none that can be read."""
        try:
            return Sidecar.read(self.sidecar(output))
        except BadDataError:
            return Sidecar()

    @property
    def raw_fingerprint(self) -> str | None:
        """Fingerprint of the raw scan; what the sidecar says where an earlier run preprocessed it."""
        if self.preprocessed is not None:
            return self.preprocessed.fields.raw_fingerprint
        return fingerprint(self.scan.path)

    @property
    def anchor_fingerprint(self) -> str | None:
        """Fingerprint of the anchor and of others' files of it; None for the anchor itself."""
        if self.preprocessed is not None:
            return self.preprocessed.fields.anchor_fingerprint
        if self.is_anchor:
            return None
        files = (self.anchor.path, *(file.path for file in self.anchor_given.files()))
        return hashlib.sha256(" ".join(map(fingerprint, files)).encode()).hexdigest()[:16]

    def derivatives_found(self) -> dict[str, str]:
        """Fingerprint of every file that derivative datasets hold of the scan, by its BIDS URI."""
        if self.preprocessed is not None:
            return dict(self.preprocessed.fields.derivatives_found or {})
        return {file.uri: fingerprint(file.path) for file in self.given.files()}

    def wanted_spaces(self) -> list[str]:
        """Where derivatives are written: ``mni``, the template's space, and ``native``, the scan's own."""
        # The template space is always written: the group level and training start from it.
        return ["mni", "native"] if "native" in self.settings.output_spaces else ["mni"]


@dataclass(frozen=True)
class SessionJob:
    """A session, the jobs of its scans (same order), and the template they go to."""

    session: Session
    scans: tuple[ScanJob, ...]
    template: Template

    @property
    def node_name(self) -> str:
        """The session's name in the graph and below the work folder."""
        return self.session.label.replace("-", "_").replace("+", "_plus_")

    @cached_property
    def keys(self) -> dict[Path, str]:
        """Short name of each scan in the graph, by its raw file.

        The number counts the scans of one sequence, so that a scan's work files are found again whichever
        sequences a run takes.
        """
        count: Counter[str] = Counter()
        names = {}
        for job in self.scans:
            count[job.scan.sequence] += 1
            names[job.scan.path] = f"{job.scan.sequence.lower()}{count[job.scan.sequence]}"
        return names

    @property
    def settings(self) -> Settings:
        """Options of the run."""
        return self.scans[0].settings

    @property
    def page(self) -> Path:
        """The session's HTML page."""
        return OUTPUTS["page"].path(self.settings.output_dir, session=self.session.label)

    @property
    def starts_in_template_space(self) -> bool:
        """Whether what the session starts from lies in the template's space already."""
        return self.settings.no_preproc or any(job.from_standard for job in self.scans)

    def is_done(self) -> bool:
        """Whether the page and every output of every scan exist and were made with these settings."""
        return self.page.is_file() and all(job.is_done() for job in self.scans)
