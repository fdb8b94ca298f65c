"""The steps as Nipype interfaces: read files, call the pure function, write files, note time and warnings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from bids_mmh.errors import BidsMmhError

if TYPE_CHECKING:
    from nipype.interfaces.base.support import Bunch


class _Inputs(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc="raw scan: read, or named when something is wrong with it")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="CPU threads of this step")


class _Step(SimpleInterface):
    """A step that runs with its own number of ITK threads and reports its CPU seconds."""

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Collect a report; what the block puts into it is stored in the output ``report``."""
        import SimpleITK

        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(self.inputs.num_threads)
        report: dict[str, Any] = {"warnings": []}
        start = _cpu_seconds()
        try:
            yield report
        except BidsMmhError as error:
            scan = self.inputs.in_file
            raise (error if scan in str(error) else type(error)(f"{scan}: {error}")) from error
        report["seconds"] = {name: round(_cpu_seconds() - start, 2)}
        self._results["report"] = report

    def path(self, runtime: "Bunch", name: str) -> Path:
        """A file in the node's folder."""
        return Path(runtime.cwd) / name

    def keep(self, **files: Path) -> None:
        """Store output files by field name."""
        self._results.update({field: str(path) for field, path in files.items()})


def _cpu_seconds() -> float:
    import resource

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


class _LoadOutputs(TraitedSpec):
    full_file = File(desc="whole scan, axes close to RAS+")
    head_file = File(desc="the same without the neck")
    report = traits.Dict()


class LoadScan(_Step):
    """Load, check, reorder to RAS+ and cut the neck off."""

    input_spec = _Inputs
    output_spec = _LoadOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.images import save_work
        from bids_mmh.preprocess.load import load_scan
        from bids_mmh.preprocess.neck import crop_neck

        with self.step("load") as report:
            scan = load_scan(Path(self.inputs.in_file))
            report["geometry"] = scan.geometry
            report["warnings"] += scan.warnings
            self.keep(
                full_file=save_work(scan.image, self.path(runtime, "full.nrrd")),
                head_file=save_work(crop_neck(scan.image), self.path(runtime, "head.nrrd")),
            )
        return runtime


class _BrainInputs(_Inputs):
    head_file = File(mandatory=True)
    template = File(mandatory=True, desc="template T1w")
    template_mask = File(mandatory=True)


class _BrainOutputs(TraitedSpec):
    mask_file = File(desc="brain mask on the voxels of head_file")
    report = traits.Dict()


class FindBrain(_Step):
    """Brain mask of a scan that stands alone."""

    input_spec = _BrainInputs
    output_spec = _BrainOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.extraction import find_brain
        from bids_mmh.preprocess.images import read_nifti, read_work, save_work

        with self.step("brain mask") as report:
            found = find_brain(
                read_work(self.inputs.head_file),
                read_nifti(Path(self.inputs.template)),
                read_nifti(Path(self.inputs.template_mask), np.uint8),
                work_dir=Path(runtime.cwd),
                threads=self.inputs.num_threads,
            )
            report["mask_engine"] = found.engine
            report["warnings"] += found.warnings
            self.keep(mask_file=save_work(found.mask, self.path(runtime, "mask.nrrd")))
        return runtime


class _AlignInputs(_Inputs):
    head_file = File(mandatory=True, desc="scan to align")
    anchor_file = File(mandatory=True, desc="anchor without its neck")
    anchor_mask = File(mandatory=True)
    sloppy = traits.Bool(False, usedefault=True)


class _AlignOutputs(TraitedSpec):
    mask_file = File(desc="anchor's brain mask on the voxels of head_file")
    to_anchor_xfm = File(desc="resamples the scan onto the anchor")
    report = traits.Dict()


class AlignToAnchor(_Step):
    """Rigid alignment of a scan to the session's anchor, whose brain mask it inherits."""

    input_spec = _AlignInputs
    output_spec = _AlignOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.extraction import inherit_mask
        from bids_mmh.preprocess.images import read_work, save_work
        from bids_mmh.preprocess.register import FAST_REGISTRATION, RegistrationSettings, rigid
        from bids_mmh.preprocess.transforms import save_transform

        with self.step("align to anchor") as report:
            head, mask = read_work(self.inputs.head_file), read_work(self.inputs.anchor_mask)
            settings = FAST_REGISTRATION if self.inputs.sloppy else RegistrationSettings()
            xfm, information = rigid(read_work(self.inputs.anchor_file), head, mask, settings)
            found = inherit_mask(head, mask, xfm)
            report["mask_engine"] = found.engine
            report["anchor_mutual_information"] = round(information, 4)
            report["warnings"] += found.warnings
            self.keep(
                mask_file=save_work(found.mask, self.path(runtime, "mask.nrrd")),
                to_anchor_xfm=save_transform(xfm, self.path(runtime, "to_anchor.txt")),
            )
        return runtime


class _BiasInputs(_Inputs):
    head_file = File(mandatory=True)
    mask_file = File(mandatory=True)
    sloppy = traits.Bool(False, usedefault=True)


class _BiasOutputs(TraitedSpec):
    bias_file = File(desc="logarithm of the bias field on the voxels of head_file")
    report = traits.Dict()


class EstimateBias(_Step):
    """N4 inside the brain mask."""

    input_spec = _BiasInputs
    output_spec = _BiasOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.bias import FAST_N4, N4Settings, estimate_log_bias
        from bids_mmh.preprocess.images import read_work, save_work

        with self.step("bias field") as report:
            settings = FAST_N4 if self.inputs.sloppy else N4Settings()
            bias = estimate_log_bias(
                read_work(self.inputs.head_file), read_work(self.inputs.mask_file), settings
            )
            report["n4"] = settings.as_dict()
            self.keep(bias_file=save_work(bias, self.path(runtime, "log_bias.nrrd")))
        return runtime


class _TemplateInputs(_BiasInputs):
    bias_file = File(mandatory=True)
    template = File(mandatory=True, desc="template T1w")
    template_mask = File(mandatory=True)


class _TemplateOutputs(TraitedSpec):
    to_mni_xfm = File(desc="resamples the scan onto the template")
    report = traits.Dict()


class AlignToTemplate(_Step):
    """Alignment of the anchor's brain to the template with nine degrees of freedom."""

    input_spec = _TemplateInputs
    output_spec = _TemplateOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.bias import divide_bias
        from bids_mmh.preprocess.images import read_nifti, read_work
        from bids_mmh.preprocess.register import FAST_REGISTRATION, RegistrationSettings, nine_dof
        from bids_mmh.preprocess.resample import apply_mask
        from bids_mmh.preprocess.transforms import save_transform

        with self.step("align to template") as report:
            corrected = divide_bias(read_work(self.inputs.head_file), read_work(self.inputs.bias_file))
            xfm, information = nine_dof(
                read_nifti(Path(self.inputs.template)),
                read_nifti(Path(self.inputs.template_mask), np.uint8),
                apply_mask(corrected, read_work(self.inputs.mask_file)),
                FAST_REGISTRATION if self.inputs.sloppy else RegistrationSettings(),
            )
            report["template_mutual_information"] = round(information, 4)
            self.keep(to_mni_xfm=save_transform(xfm, self.path(runtime, "to_mni.txt")))
        return runtime


class _FinishInputs(_Inputs):
    sequence = traits.Str(mandatory=True)
    full_file = File(mandatory=True)
    mask_file = File(mandatory=True)
    bias_file = File(mandatory=True)
    anchor_mask = File(mandatory=True)
    anchor_to_mni = File(mandatory=True)
    to_anchor_xfm = File(desc="undefined for the anchor")
    template = File(mandatory=True)
    template_mask = File(mandatory=True)
    spacing = traits.Float(mandatory=True, desc="voxel size of the model grid in mm")
    reports = traits.List(traits.Dict(), mandatory=True, desc="reports of the steps before")


class _FinishOutputs(TraitedSpec):
    native_preproc = File()
    native_mask = File()
    mni_preproc = File()
    mni_mask = File()
    to_mni_xfm = File()
    qc_json = File()
    report = traits.Dict()


class FinishScan(_Step):
    """Write what the workflow promises for one scan, with one interpolation from raw to MNI."""

    input_spec = _FinishInputs
    output_spec = _FinishOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.finish import FinishFiles, finish_scan
        from bids_mmh.preprocess.images import save_json

        inputs = self.inputs
        with self.step("resample and write") as report:
            files, figures = finish_scan(
                FinishFiles(
                    raw=Path(inputs.in_file),
                    full=Path(inputs.full_file),
                    mask=Path(inputs.mask_file),
                    bias=Path(inputs.bias_file),
                    anchor_mask=Path(inputs.anchor_mask),
                    anchor_to_mni=Path(inputs.anchor_to_mni),
                    to_anchor=Path(inputs.to_anchor_xfm) if inputs.to_anchor_xfm else None,
                    template=Path(inputs.template),
                    template_mask=Path(inputs.template_mask),
                ),
                sequence=inputs.sequence,
                spacing=inputs.spacing,
                out_dir=Path(runtime.cwd),
            )
            report.update(figures)
            self.keep(**files)
        qc = merge_reports([*inputs.reports, self._results["report"]])
        self.keep(qc_json=save_json(qc, self.path(runtime, "qc.json")))
        return runtime


def merge_reports(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the reports of the steps: warnings one after the other, seconds by step, the rest as it is."""
    merged: dict[str, Any] = {"seconds": {}, "warnings": []}
    for report in reports:
        merged["seconds"] |= report.get("seconds", {})
        merged["warnings"] += [w for w in report.get("warnings", []) if w not in merged["warnings"]]
        merged |= {key: value for key, value in report.items() if key not in ("seconds", "warnings")}
    return merged
