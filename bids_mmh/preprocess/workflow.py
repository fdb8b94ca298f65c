"""The Nipype workflow of one session."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.errors import NoInputError, UsageError
from bids_mmh.preprocess.external import PrecomputedFile, PrecomputedFiles
from bids_mmh.preprocess.options import PreprocessOptions

if TYPE_CHECKING:
    from nipype import Node, Workflow

    from bids_mmh.preprocess.grid import Grid
    from bids_mmh.preprocess.template import Template

OUTPUT_FIELDS = (
    "native_preproc",
    "native_mask",
    "mni_preproc",
    "mni_mask",
    "to_mni_xfm",
    "to_anchor_xfm",
    "qc_json",
)


@dataclass(frozen=True)
class ScanSpec:
    """One raw scan of a session.

    Attributes:
        key: Short name, unique in the session, of lower-case letters, digits and underscores.
        sequence: BIDS suffix, ``T1w`` or ``T2w``.
        path: Raw NIfTI file.
        precomputed: Files that replace steps.
    """

    key: str
    sequence: str
    path: Path
    precomputed: PrecomputedFiles = field(default_factory=PrecomputedFiles)


def build_session_workflow(
    name: str,
    scans: Sequence[ScanSpec],
    *,
    template: "Template",
    grid: "Grid",
    options: PreprocessOptions,
) -> "Workflow":
    """Build the workflow that preprocesses the scans of one session.

    The anchor is the first T1w, or the first scan if there is no T1w: its brain is extracted and registered
    to the template with nine degrees of freedom. Every other scan is registered rigidly to the anchor and
    inherits its mask. For each scan there is a node ``out_<key>`` with the fields ``native_preproc``,
    ``native_mask``, ``mni_preproc``, ``mni_mask``, ``to_mni_xfm``, ``to_anchor_xfm`` (undefined for the
    anchor) and ``qc_json``.

    Args:
        name: Name of the workflow, also of its folder below ``base_dir``.
        scans: The scans of the session.
        template: Template brain.
        grid: The model's grid.
        options: Options of the preprocessing.

    Returns:
        The workflow.

    Raises:
        NoInputError: If there are no scans.
        UsageError: If two scans have the same key.
    """
    from nipype import Workflow

    if not scans:
        raise NoInputError(f"The session {name} has no scan to preprocess: check the filters.")
    if len({scan.key for scan in scans}) < len(scans):
        raise UsageError(f"Two scans of the session {name} share a key: give each scan a key of its own.")
    builder = _SessionBuilder(Workflow(name), template, grid, options)
    anchor = next((scan for scan in scans if scan.sequence == "T1w"), scans[0])
    builder.add_anchor(anchor)
    for scan in scans:
        if scan is not anchor:
            builder.add_registered(scan, anchor.key)
    return builder.workflow


@dataclass(frozen=True)
class _SessionBuilder:
    workflow: "Workflow"
    template: "Template"
    grid: "Grid"
    options: PreprocessOptions

    def add_anchor(self, scan: ScanSpec) -> None:
        from bids_mmh.preprocess.interfaces import AlignToTemplate, ExtractBrain

        key, precomputed, connect = scan.key, scan.precomputed, self.workflow.connect
        load = self._add_load(scan)
        weights = self.options.synthstrip_weights
        brain = self._node(
            ExtractBrain,
            "brain",
            scan,
            sequence=scan.sequence,
            skull_strip=self.options.skull_strip,
            engine=self.options.engine,
            **({"weights": str(weights)} if weights and self.options.engine == "synthstrip" else {}),
            **_precomputed("mask", precomputed.mask),
            **self._template_inputs(),
        )
        align = self._node(
            AlignToTemplate,
            "template",
            scan,
            **_precomputed("xfm", precomputed.to_template),
            **self._align_inputs(),
            **self._template_inputs(),
        )
        connect(load, "head_file", brain, "head_file")
        connect(load, "head_file", align, "head_file")
        connect(brain, "mask_file", align, "mask_file")
        finish, check = self._add_outputs(scan, load, brain, extra_reports=[align])
        connect(self.workflow.get_node(f"bias_{key}"), "bias_file", align, "bias_file")
        for node in (finish, check):
            connect(brain, "mask_file", node, "anchor_mask")
            connect(align, "to_mni_xfm", node, "anchor_to_mni")

    def add_registered(self, scan: ScanSpec, anchor_key: str) -> None:
        from bids_mmh.preprocess.interfaces import AlignToAnchor

        connect, get = self.workflow.connect, self.workflow.get_node
        load = self._add_load(scan)
        align = self._node(
            AlignToAnchor,
            "anchor",
            scan,
            **_precomputed("mask", scan.precomputed.mask),
            **_precomputed("xfm", scan.precomputed.to_anchor),
            **self._align_inputs(),
        )
        connect(load, "head_file", align, "head_file")
        connect(get(f"load_{anchor_key}"), "head_file", align, "anchor_file")
        connect(get(f"brain_{anchor_key}"), "mask_file", align, "anchor_mask")
        finish, check = self._add_outputs(scan, load, align, extra_reports=[])
        connect(get(f"load_{anchor_key}"), "head_file", check, "anchor_file")
        for node in (finish, check):
            connect(get(f"brain_{anchor_key}"), "mask_file", node, "anchor_mask")
            connect(get(f"template_{anchor_key}"), "to_mni_xfm", node, "anchor_to_mni")
            connect(align, "to_anchor_xfm", node, "to_anchor_xfm")
        connect(align, "to_anchor_xfm", get(f"out_{scan.key}"), "to_anchor_xfm")

    def _add_load(self, scan: ScanSpec) -> "Node":
        from bids_mmh.preprocess.interfaces import LoadScan

        return self._node(LoadScan, "load", scan, **_precomputed("preproc", scan.precomputed.preproc))

    def _add_outputs(
        self, scan: ScanSpec, load: "Node", mask: "Node", extra_reports: "list[Node]"
    ) -> "tuple[Node, Node]":
        """Add bias field, check, resampling and outputs; return the nodes of resampling and check.

        ``mask`` is the node that gives ``mask_file``.
        """
        from nipype import Node
        from nipype.interfaces.utility import IdentityInterface, Merge

        from bids_mmh.preprocess.interfaces import CheckAlignment, EstimateBias, FinishScan

        key, connect = scan.key, self.workflow.connect
        bias = self._node(
            EstimateBias, "bias", scan, sloppy=self.options.sloppy, skip=self.options.in_template_space
        )
        finish = self._node(
            FinishScan,
            "finish",
            scan,
            sequence=scan.sequence,
            spacing=self.grid.spacing,
            **self._template_inputs(),
        )
        check = self._node(CheckAlignment, "check", scan, **self._template_inputs())
        out = Node(IdentityInterface(fields=list(OUTPUT_FIELDS)), f"out_{key}")
        connect(load, "head_file", bias, "head_file")
        connect(load, "corrected", bias, "corrected")
        connect(mask, "mask_file", bias, "mask_file")
        connect(load, "head_file", check, "head_file")
        connect(bias, "bias_file", check, "bias_file")
        connect(load, "full_file", finish, "full_file")
        connect(load, "voxels_of", finish, "voxels_of")
        connect(mask, "mask_file", finish, "mask_file")
        connect(bias, "bias_file", finish, "bias_file")
        reporting = [load, mask, bias, *extra_reports, check]
        reports = Node(Merge(len(reporting)), f"reports_{key}")
        for number, node in enumerate(reporting, start=1):
            connect(node, "report", reports, f"in{number}")
        connect(reports, "out", finish, "reports")
        for name in OUTPUT_FIELDS:
            if name != "to_anchor_xfm":
                connect(finish, name, out, name)
        return finish, check

    def _node(self, interface: type, step: str, scan: ScanSpec, **inputs: object) -> "Node":
        from nipype import Node

        threads = self.options.omp_nthreads
        runner = interface(in_file=str(scan.path), num_threads=threads, **inputs)
        return Node(runner, f"{step}_{scan.key}", n_procs=threads, mem_gb=2.0)

    def _align_inputs(self) -> dict[str, object]:
        options = self.options
        return {
            "sloppy": options.sloppy,
            "engine": options.engine,
            "identity": options.in_template_space,
        }

    def _template_inputs(self) -> dict[str, str]:
        return {"template": str(self.template.t1w), "template_mask": str(self.template.brain_mask)}


def _precomputed(kind: str, file: PrecomputedFile | None) -> dict[str, str]:
    """Inputs of an interface for a precomputed file."""
    return {f"precomputed_{kind}": str(file.path), f"precomputed_{kind}_uri": file.uri} if file else {}
