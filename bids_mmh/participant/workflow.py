"""The Nipype graph of one session: preprocessing, harmonize node, derivatives, page."""

from collections.abc import Sequence
from typing import Any

from nipype import Node, Workflow
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    DynamicTraitedSpec,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from nipype.interfaces.base.traits_extension import isdefined

from bids_mmh.derivatives.external_derivatives import FoundFile
from bids_mmh.derivatives.jobs import ScanJob, SessionJob
from bids_mmh.participant.harmonize import HarmonizeScan
from bids_mmh.participant.outputs import write_scan
from bids_mmh.participant.report import write_session_page
from bids_mmh.preprocess.external import PrecomputedFile, PrecomputedFiles
from bids_mmh.preprocess.grid import model_grid
from bids_mmh.preprocess.options import PreprocessOptions
from bids_mmh.preprocess.workflow import OUTPUT_FIELDS, ScanSpec, build_session_workflow
from bids_mmh.runtime.plugins.choice import HARMONIZE_GB


class _WriteInputs(DynamicTraitedSpec, BaseInterfaceInputSpec):
    job = traits.Any(mandatory=True, desc="ScanJob")


class _WriteOutputs(TraitedSpec):
    done = traits.Str(desc="name of the scan, once everything is written")


class WriteScan(SimpleInterface):
    """Write the derivatives of one scan; runs every time, so that deleted outputs come back."""

    input_spec = _WriteInputs
    output_spec = _WriteOutputs
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:  # noqa: ANN401
        work = {k: v for k, v in self.inputs.get().items() if k != "job" and isdefined(v)}
        write_scan(self.inputs.job, work)
        self._results["done"] = self.inputs.job.scan.path.name
        return runtime


class _PageInputs(BaseInterfaceInputSpec):
    job = traits.Any(mandatory=True, desc="SessionJob")
    done = traits.List(traits.Str(), mandatory=True, desc="scans that are written")


class _PageOutputs(TraitedSpec):
    page = traits.Str()


class WritePage(SimpleInterface):
    """Write the session's HTML page once all of its scans are there."""

    input_spec = _PageInputs
    output_spec = _PageOutputs
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:  # noqa: ANN401
        self._results["page"] = str(write_session_page(self.inputs.job))
        return runtime


def session_graph(job: SessionJob, device: str) -> Workflow:
    """Build the whole workflow of one session.

    Args:
        job: the session.
        device: where the model runs: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    from nipype.interfaces.utility import Merge

    settings, keys = job.settings, job.keys
    workflow = build_session_workflow(
        job.node_name,
        [_scan_spec(scan, keys[scan.scan.path]) for scan in _anchor_first(job.scans)],
        template=job.template,
        grid=model_grid(job.scans[0].spacing),
        options=PreprocessOptions(
            omp_nthreads=settings.omp_nthreads,
            sloppy=settings.sloppy,
            skull_strip=settings.skull_strip,
            engine=settings.preproc_engine,
            synthstrip_weights=settings.synthstrip_weights,
            in_template_space=job.starts_in_template_space,
        ),
    )
    merge = Node(Merge(len(job.scans)), "written")
    for number, scan in enumerate(job.scans, start=1):
        write = _add_scan(workflow, scan, keys[scan.scan.path], device)
        workflow.connect(write, "done", merge, f"in{number}")
    page = Node(WritePage(job=job), "page", mem_gb=1.5)
    workflow.connect(merge, "out", page, "done")
    return workflow


def _add_scan(workflow: Workflow, job: ScanJob, key: str, device: str) -> Node:
    out = workflow.get_node(f"out_{key}")
    write = Node(WriteScan(job=job), f"write_{key}", mem_gb=1.5)
    for field in OUTPUT_FIELDS:
        if field != "to_anchor_xfm" or not job.is_anchor:
            write.interface.inputs.add_trait(field, traits.Any())
            workflow.connect(out, field, write, field)
    if job.model is None:
        return write
    threads, on_gpu = job.settings.omp_nthreads, device.startswith("cuda")
    harmonize = Node(
        HarmonizeScan(
            sequence=job.scan.sequence,
            subject=f"sub-{job.scan.entities['subject']}",
            model=str(job.model.folder),
            model_sha256=job.model.sha256,
            device=device,
            num_threads=threads,
            use_gpu=on_gpu,
        ),
        f"harmonize_{key}",
        n_procs=1 if on_gpu else threads,
        mem_gb=HARMONIZE_GB,
    )
    workflow.connect([(out, harmonize, [("mni_preproc", "image"), ("mni_mask", "mask")])])
    for field in ("harmonized", "device", "precision", "seconds", "fallback"):
        write.interface.inputs.add_trait(field, traits.Any())
        workflow.connect(harmonize, field, write, field)
    return write


def _scan_spec(job: ScanJob, key: str) -> ScanSpec:
    """Say what a scan is read from, and which files of others take the place of steps."""
    scan, given = job.scan, job.given
    if job.from_standard and given.standard:
        mask = PrecomputedFiles(mask=_given_file(given.standard_mask))
        return ScanSpec(key, scan.sequence, given.standard.path, mask)
    files = PrecomputedFiles(
        preproc=_given_file(given.preproc),
        mask=_given_file(given.mask),
        to_template=_given_file(given.to_template),
        to_anchor=_given_file(given.to_anchor),
    )
    return ScanSpec(key, scan.sequence, scan.path, files)


def _given_file(found: FoundFile | None) -> PrecomputedFile | None:
    return PrecomputedFile(found.path, found.uri) if found else None


def _anchor_first(scans: Sequence[ScanJob]) -> list[ScanJob]:
    return sorted(scans, key=lambda scan: not scan.is_anchor)
