"""The steps as Nipype interfaces: read files, call pure functions, write files, report time and warnings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits
from nipype.interfaces.base.traits_extension import isdefined

from bids_mmh import __version__
from bids_mmh.errors import BadDataError, BidsMmhError, NoInputError
from bids_mmh.preprocess.options import PreprocessOptions

if TYPE_CHECKING:
    import SimpleITK
    from nipype.interfaces.base.support import Bunch

    from bids_mmh.preprocess.steps.extraction import BrainMask


class _Inputs(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc="raw scan, which is read or named in error messages")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="CPU threads of this step")
    version = traits.Str(
        __version__, usedefault=True, desc="program version; another one runs the step again"
    )


class _Step(SimpleInterface):
    """A step that runs with its own number of ITK threads and reports its CPU seconds."""

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Time the block; what it adds to the report is stored in the output ``report``."""
        import SimpleITK

        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(self.inputs.num_threads)
        report: dict[str, Any] = {"warnings": [], "notes": []}
        start = _cpu_seconds()
        try:
            yield report
        except BidsMmhError as error:
            scan = self.inputs.in_file
            raise (error if scan in str(error) else type(error)(f"{scan}: {error}")) from error
        except RuntimeError as error:
            if "ITK ERROR" not in str(error):
                raise
            raise BadDataError(  # what ITK says of its filters is in the traceback, for those who can use it
                f"{self.inputs.in_file} cannot be used in the step '{name}', so it may show no head: look at "
                "it, or leave it out."
            ) from error
        report["seconds"] = {name: round(_cpu_seconds() - start, 2)}
        self._results["report"] = report

    @contextmanager
    def precomputed(self, field: str, kind: str, report: dict[str, Any]) -> Iterator[Path | None]:
        """Give the path in ``precomputed_<field>``, None if there is none.

        If the block rejects the file, the reason becomes a warning, and the step is run.
        """
        path, uri = (
            getattr(self.inputs, f"precomputed_{field}"),
            getattr(self.inputs, f"precomputed_{field}_uri"),
        )
        try:
            yield Path(path) if isdefined(path) else None
        except (BadDataError, NoInputError) as error:
            from bids_mmh.preprocess.external import refusal

            report["warnings"].append(refusal(kind, uri, error))

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


class _LoadInputs(_Inputs):
    precomputed_preproc = File(desc="bias-corrected image of the scan by another program")
    precomputed_preproc_uri = traits.Str(desc="its BIDS URI")


class _LoadOutputs(TraitedSpec):
    full_file = File(desc="whole scan, axes close to RAS+")
    head_file = File(desc="the same without the neck")
    voxels_of = File(desc="file with the voxels and the header of native-space results")
    corrected = traits.Bool(desc="whether the bias field is already corrected")
    report = traits.Dict()


class LoadScan(_Step):
    """Load and validate a scan, reorder it to RAS+ and crop the neck; a preprocessed image may replace it."""

    input_spec = _LoadInputs
    output_spec = _LoadOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.images import save_work
        from bids_mmh.preprocess.pipeline import prepare_head
        from bids_mmh.preprocess.steps.load import load_scan

        with self.step("load") as report:
            raw = Path(self.inputs.in_file)
            scan = load_scan(raw)
            report["geometry"] = scan.geometry
            report["warnings"] += scan.warnings
            image, voxels_of = self._preprocessed(scan.image, report) or (scan.image, raw)
            self._results["corrected"] = "given" in report
            head, notes = prepare_head(image)
            report["notes"] += notes
            self.keep(
                full_file=save_work(image, self.path(runtime, "full.nrrd")),
                head_file=save_work(head, self.path(runtime, "head.nrrd")),
                voxels_of=voxels_of,
            )
        return runtime

    def _preprocessed(
        self, raw: "SimpleITK.Image", report: dict[str, Any]
    ) -> "tuple[SimpleITK.Image, Path] | None":
        from bids_mmh.preprocess.external import check_same_scan, on_same_voxels
        from bids_mmh.preprocess.images import image_like, to_array
        from bids_mmh.preprocess.steps.load import load_scan

        with self.precomputed("preproc", "preprocessed image", report) as path:
            if path is None:
                return None
            image = load_scan(path).image
            check_same_scan(image, raw)
            report["given"] = {"preproc": self.inputs.precomputed_preproc_uri}
            # On the scan's own voxels in another order of axes: results keep the scan's header.
            same = on_same_voxels(image, raw)
            if same:
                return image_like(to_array(image), raw), Path(self.inputs.in_file)
            report["spatial_reference"] = self.inputs.precomputed_preproc_uri
            return image, path
        return None


class _MaskInputs(_Inputs):
    precomputed_mask = File(desc="brain mask by another program or the user")
    precomputed_mask_uri = traits.Str(desc="its BIDS URI")


class _BrainInputs(_MaskInputs):
    head_file = File(mandatory=True)
    sequence = traits.Str(mandatory=True)
    skull_strip = traits.Enum("auto", "force", "skip", usedefault=True)
    engine = traits.Enum("builtin", "deepbet", "network", "synthstrip", "freesurfer", usedefault=True)
    weights = File(desc="weights of SynthStrip")
    template = File(mandatory=True, desc="template T1w")
    template_mask = File(mandatory=True)


class _BrainOutputs(TraitedSpec):
    mask_file = File(desc="brain mask on the voxels of head_file")
    report = traits.Dict()


class ExtractBrain(_Step):
    """Brain mask of the session's anchor."""

    input_spec = _BrainInputs
    output_spec = _BrainOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.images import read_work, save_work

        with self.step("brain mask") as report:
            head = read_work(self.inputs.head_file)
            found = _precomputed_mask(self, head, report) or self._find(head, Path(runtime.cwd))
            report["mask_engine"] = found.engine
            report["warnings"] += found.warnings
            report["notes"] += found.notes
            self.keep(mask_file=save_work(found.mask, self.path(runtime, "mask.nrrd")))
        return runtime

    def _find(self, head: "SimpleITK.Image", folder: Path) -> "BrainMask":
        from bids_mmh.preprocess.pipeline import Standard, find_brain

        inputs = self.inputs
        options = PreprocessOptions(
            inputs.num_threads,
            skull_strip=inputs.skull_strip,
            engine=inputs.engine,
            synthstrip_weights=Path(inputs.weights) if isdefined(inputs.weights) else None,
        )
        standard = Standard.read(Path(inputs.template), Path(inputs.template_mask))
        return find_brain(head, standard, sequence=inputs.sequence, options=options, work_dir=folder)


def _precomputed_mask(step: _Step, head: "SimpleITK.Image", report: dict[str, Any]) -> "BrainMask | None":
    """The precomputed brain mask on the voxels of a head, None if there is none to use."""
    from bids_mmh.preprocess.external import mask_on_scan
    from bids_mmh.preprocess.steps.extraction import BrainMask

    with step.precomputed("mask", "brain mask", report) as path:
        if path is None:
            return None
        mask = mask_on_scan(path, head)
        report.setdefault("given", {})["mask"] = step.inputs.precomputed_mask_uri
        return BrainMask(mask, "given")
    return None


class _XfmInputs(_Inputs):
    precomputed_xfm = File(desc="linear transform by another program")
    precomputed_xfm_uri = traits.Str(desc="its BIDS URI")
    engine = traits.Enum("builtin", "deepbet", "network", "synthstrip", "freesurfer", usedefault=True)
    identity = traits.Bool(False, usedefault=True, desc="the images are already in one space")
    sloppy = traits.Bool(False, usedefault=True)


def _precomputed_transform(
    step: _Step, kind: str, report: dict[str, Any]
) -> "tuple[SimpleITK.Transform, float | None] | None":
    """The transform without registration: the identity or the precomputed one; None if there is none."""
    from bids_mmh.preprocess.external import linear_transform
    from bids_mmh.preprocess.transforms import from_matrix

    if step.inputs.identity:
        return from_matrix(np.eye(4)), None
    with step.precomputed("xfm", kind, report) as path:
        if path is None:
            return None
        transform = linear_transform(path)
        report.setdefault("given", {})["xfm"] = step.inputs.precomputed_xfm_uri
        return transform, None
    return None


def _options(step: _Step) -> PreprocessOptions:
    """How to align."""
    inputs = step.inputs
    return PreprocessOptions(inputs.num_threads, sloppy=inputs.sloppy, engine=inputs.engine)


def _note(report: dict[str, Any], name: str, agreement: float | None) -> None:
    """Note how well the images of an alignment agree that was done here."""
    if agreement is not None:
        report[name] = round(agreement, 4)


class _AlignInputs(_XfmInputs, _MaskInputs):
    head_file = File(mandatory=True, desc="scan to align")
    anchor_file = File(mandatory=True, desc="anchor without its neck")
    anchor_mask = File(mandatory=True)


class _AlignOutputs(TraitedSpec):
    mask_file = File(desc="brain mask on the voxels of head_file: as a rule the anchor's")
    to_anchor_xfm = File(desc="resamples the scan onto the anchor")
    report = traits.Dict()


class AlignToAnchor(_Step):
    """Rigid registration of a scan to the session's anchor, whose brain mask it inherits."""

    input_spec = _AlignInputs
    output_spec = _AlignOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.images import read_work, save_work
        from bids_mmh.preprocess.steps.extraction import inherit_mask
        from bids_mmh.preprocess.transforms import save_transform

        with self.step("align to anchor") as report:
            head, mask = read_work(self.inputs.head_file), read_work(self.inputs.anchor_mask)
            xfm, coherence = _precomputed_transform(self, "transform", report) or self._align(
                head, mask, Path(runtime.cwd)
            )
            found = _precomputed_mask(self, head, report) or inherit_mask(head, mask, xfm)
            report["mask_engine"] = found.engine
            _note(report, "anchor_coherence", coherence)
            report["warnings"] += found.warnings
            report["notes"] += found.notes
            self.keep(
                mask_file=save_work(found.mask, self.path(runtime, "mask.nrrd")),
                to_anchor_xfm=save_transform(xfm, self.path(runtime, "to_anchor.txt")),
            )
        return runtime

    def _align(
        self, head: "SimpleITK.Image", mask: "SimpleITK.Image", folder: Path
    ) -> "tuple[SimpleITK.Transform, float | None]":
        from bids_mmh.preprocess.engines.choice import align_to_anchor
        from bids_mmh.preprocess.images import read_work

        anchor = read_work(self.inputs.anchor_file)
        return align_to_anchor(anchor, mask, head, work_dir=folder, options=_options(self))


class _BiasInputs(_Inputs):
    head_file = File(mandatory=True)
    mask_file = File(mandatory=True)
    corrected = traits.Bool(False, usedefault=True, desc="the bias field is already corrected")
    skip = traits.Bool(False, usedefault=True, desc="do not estimate a bias field")
    sloppy = traits.Bool(False, usedefault=True)


class _BiasOutputs(TraitedSpec):
    bias_file = File(desc="logarithm of the bias field on the voxels of head_file")
    report = traits.Dict()


class EstimateBias(_Step):
    """N4 inside the brain mask; a field of 1 if the scan is already corrected."""

    input_spec = _BiasInputs
    output_spec = _BiasOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.images import read_work, save_work
        from bids_mmh.preprocess.pipeline import find_bias, no_bias

        with self.step("bias field") as report:
            head = read_work(self.inputs.head_file)
            if self.inputs.corrected or self.inputs.skip:
                bias = no_bias(head)
            else:
                bias = find_bias(head, read_work(self.inputs.mask_file), sloppy=self.inputs.sloppy)
            report["warnings"] += bias.warnings
            report.update(bias.figures)
            self.keep(bias_file=save_work(bias.log_field, self.path(runtime, "log_bias.nrrd")))
        return runtime


class _TemplateInputs(_XfmInputs):
    head_file = File(mandatory=True)
    mask_file = File(mandatory=True)
    bias_file = File(mandatory=True)
    template = File(mandatory=True, desc="template T1w")
    template_mask = File(mandatory=True)


class _TemplateOutputs(TraitedSpec):
    to_mni_xfm = File(desc="resamples the scan onto the template")
    report = traits.Dict()


class AlignToTemplate(_Step):
    """Registration of the anchor's brain to the template with nine degrees of freedom."""

    input_spec = _TemplateInputs
    output_spec = _TemplateOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.transforms import save_transform

        with self.step("align to template") as report:
            xfm, information = _precomputed_transform(self, "transform", report) or self._align(
                Path(runtime.cwd)
            )
            _note(report, "template_mutual_information", information)
            self.keep(to_mni_xfm=save_transform(xfm, self.path(runtime, "to_mni.txt")))
        return runtime

    def _align(self, folder: Path) -> "tuple[SimpleITK.Transform, float | None]":
        from bids_mmh.preprocess.images import read_work
        from bids_mmh.preprocess.pipeline import Standard, align_brain

        inputs = self.inputs
        return align_brain(
            read_work(inputs.head_file),
            read_work(inputs.mask_file),
            read_work(inputs.bias_file),
            Standard.read(Path(inputs.template), Path(inputs.template_mask)),
            options=_options(self),
            work_dir=folder,
        )


class _CheckInputs(_Inputs):
    head_file = File(mandatory=True)
    bias_file = File(mandatory=True)
    anchor_file = File(desc="anchor without its neck; undefined for the anchor itself")
    anchor_mask = File(mandatory=True)
    anchor_to_mni = File(mandatory=True)
    to_anchor_xfm = File(desc="undefined for the anchor")
    template = File(mandatory=True)
    template_mask = File(mandatory=True)


class _CheckOutputs(TraitedSpec):
    report = traits.Dict()


class CheckAlignment(_Step):
    """Check the registration of a scan to the template or the session's anchor, and warn if it is poor."""

    input_spec = _CheckInputs
    output_spec = _CheckOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.images import read_nifti, read_work
        from bids_mmh.preprocess.steps.bias import divide_bias
        from bids_mmh.preprocess.steps.quality import session_alignment, template_alignment
        from bids_mmh.preprocess.transforms import compose, read_transform

        inputs = self.inputs
        with self.step("check alignment") as report:
            scan = divide_bias(read_work(inputs.head_file), read_work(inputs.bias_file))
            to_mni = read_transform(inputs.anchor_to_mni)
            if isdefined(inputs.to_anchor_xfm):
                anchor, mask = read_work(inputs.anchor_file), read_work(inputs.anchor_mask)
                through = compose(to_mni, read_transform(inputs.to_anchor_xfm))
                report.update(session_alignment(anchor, mask, to_mni, scan, through))
            else:
                template, mask = read_nifti(Path(inputs.template)), read_nifti(Path(inputs.template_mask))
                report.update(template_alignment(scan, to_mni, template, mask))
        return runtime


class _FinishInputs(_Inputs):
    sequence = traits.Str(mandatory=True)
    full_file = File(mandatory=True)
    voxels_of = File(mandatory=True, desc="file with the voxels and the header of native-space results")
    mask_file = File(mandatory=True)
    bias_file = File(mandatory=True)
    anchor_mask = File(mandatory=True)
    anchor_to_mni = File(mandatory=True)
    to_anchor_xfm = File(desc="undefined for the anchor")
    template = File(mandatory=True)
    template_mask = File(mandatory=True)
    spacing = traits.Float(mandatory=True, desc="voxel size of the model grid in mm")
    reports = traits.List(traits.Dict(), mandatory=True, desc="reports of the previous steps")


class _FinishOutputs(TraitedSpec):
    native_preproc = File()
    native_mask = File()
    mni_preproc = File()
    mni_mask = File()
    to_mni_xfm = File()
    qc_json = File()
    report = traits.Dict()


class FinishScan(_Step):
    """Write the outputs of one scan, with a single interpolation from raw to MNI."""

    input_spec = _FinishInputs
    output_spec = _FinishOutputs

    def _run_interface(self, runtime: "Bunch") -> "Bunch":
        from bids_mmh.preprocess.images import save_json
        from bids_mmh.preprocess.steps.finish import FinishFiles, finish_scan

        inputs = self.inputs
        with self.step("resample and write") as report:
            files, metrics = finish_scan(
                FinishFiles(
                    raw=Path(inputs.voxels_of),
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
            report.update(metrics)
            self.keep(**files)
        qc = merge_reports([*inputs.reports, self._results["report"]])
        self.keep(qc_json=save_json(qc, self.path(runtime, "qc.json")))
        return runtime


def merge_reports(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge the reports of the steps of a scan.

    Args:
        reports: Reports in the order of the steps.

    Returns:
        One report: warnings and notes in order and without duplicates, seconds by step, BIDS URIs of
        precomputed files by kind, everything else by its key.

    Examples:
        >>> reports = [{"seconds": {"load": 1.0}}, {"seconds": {"N4": 2.0}, "warnings": ["Look."]}]
        >>> merged = merge_reports(reports)
        >>> merged["seconds"], merged["warnings"]
        ({'load': 1.0, 'N4': 2.0}, ['Look.'])
    """
    merged: dict[str, Any] = {"seconds": {}, "warnings": [], "notes": []}
    for report in reports:
        merged["seconds"] |= report.get("seconds", {})
        for kind in ("warnings", "notes"):
            merged[kind] += [sentence for sentence in report.get(kind, []) if sentence not in merged[kind]]
        if report.get("given"):
            merged["given"] = merged.get("given", {}) | report["given"]
        merged |= {k: v for k, v in report.items() if k not in ("seconds", "warnings", "notes", "given")}
    return merged
