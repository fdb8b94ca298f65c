"""Harmonize images from Python: ``from bids_mmh import Harmonizer``."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from bids_mmh.derivatives.models import resolve_model
from bids_mmh.errors import BadDataError, BidsMmhError, UsageError
from bids_mmh.method import harmonizer
from bids_mmh.participant.harmonize import choose_device, harmonize_volume
from bids_mmh.participant.intensity_units import stored_image, stored_on_native
from bids_mmh.preprocess.engines.choice import ENGINES, check_engine
from bids_mmh.preprocess.grid import Grid, model_grid
from bids_mmh.preprocess.options import PreprocessOptions
from bids_mmh.preprocess.pipeline import SCAN_FILE, preprocess_scan, resample_to_grid
from bids_mmh.preprocess.steps.skull_strip import MODES
from bids_mmh.preprocess.template import TEMPLATEFLOW_SPACE, Template, find_template
from bids_mmh.settings import EMBEDDED_MODEL, model_location


class Harmonizer:
    """A trained model that takes images and gives them back harmonized.

    Args:
        model: networks and style records, in evaluation mode.
        template: standard space of raw heads; see ``--template``.
        preprocessing: how raw heads are preprocessed, by default as the participant level does, with all the
            CPUs there are.

    Raises:
        UsageError: the preprocessing asks for what does not exist or cannot run.
        NoInputError: there are no such weights of SynthStrip.
        BadDataError: they are not SynthStrip's.
    """

    def __init__(
        self,
        model: harmonizer.Harmonizer,
        *,
        template: str = TEMPLATEFLOW_SPACE,
        preprocessing: PreprocessOptions | None = None,
    ) -> None:
        self._model = model
        self._template_name = template
        self._options = preprocessing or PreprocessOptions(omp_nthreads=len(os.sched_getaffinity(0)))
        _one_of("skull_strip", self._options.skull_strip, MODES)
        _one_of("engine", self._options.engine, ENGINES)
        check_engine(self._options.engine, self._options.synthstrip_weights)

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | os.PathLike[str] = EMBEDDED_MODEL,
        device: str = "auto",
        *,
        template: str = TEMPLATEFLOW_SPACE,
        preprocessing: PreprocessOptions | None = None,
    ) -> "Harmonizer":
        """Load a model.

        Args:
            path_or_name: ``embedded`` or a model folder.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            template: standard space of raw heads; see ``--template``.
            preprocessing: how raw heads are preprocessed; see :class:`Harmonizer`.

        Raises:
            UsageError: no such model or device, or the preprocessing cannot run.
            NoInputError: the folder is not a model folder, or weights do not exist.
            BadDataError: its files, or the weights, are damaged.
        """
        folder = resolve_model(model_location(os.fspath(path_or_name))).folder
        model = harmonizer.Harmonizer.from_pretrained(folder, choose_device(device))
        return cls(model, template=template, preprocessing=preprocessing)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the model folder that ``bids-mmh --model`` and :meth:`from_pretrained` take."""
        self._model.save_pretrained(Path(folder))

    @property
    def sequences(self) -> tuple[str, ...]:
        """BIDS suffixes the model was trained for."""
        return self._model.config.sequences

    @property
    def target(self) -> str:
        """The site that the model leads to, else ``unified``."""
        config = self._model.config
        return config.target.site if config.target else config.domain

    @property
    def spacing(self) -> float:
        """Voxel size in mm of the grid that the model works on."""
        return self._model.config.spacing

    def harmonize(
        self,
        image: SpatialImage,
        sequence: str = "T1w",
        mask: SpatialImage | None = None,
        *,
        space: Literal["native", "template"] = "native",
        outside: Literal["keep", "zero"] = "zero",
    ) -> nib.Nifti1Image:
        """Harmonize one scan as the participant level does.

        Args:
            image: 3D scan. In ``native`` space a raw one, which is preprocessed like a session of one scan;
                in ``template`` space one that was registered before (as ``desc-preproc`` is), skull-stripped
                or with a mask, on any voxels.
            sequence: BIDS suffix, one of ``sequences``.
            mask: brain mask on the voxels of ``image``, above 0 in the brain; None to find the brain
                (``native``) or to take what is not background (``template``).
            space: where the image is.
            outside: what becomes of a raw head outside its brain; see ``--outside``.

        Returns:
            float32 image of the brain, 0 outside it (unless that is kept) and about 1000 at its brightest.
            ``native``: on the voxels of ``image``, as the derivative ``desc-harmonized``. ``template``: on
            the model's grid, as ``space-<MNI>_desc-harmonized``.

        Raises:
            BadDataError: image or mask cannot be used, or the model does not know the sequence.
            UsageError: no such space, template or way with what is outside.
        """
        self._model.sequence_index(sequence)
        _one_of("space", space, ("native", "template"))
        _one_of("outside", outside, ("keep", "zero"))
        scan = _as_scan(image)
        brain = None if mask is None else _as_brain(mask, image)
        with TemporaryDirectory() as name, _naming(_name(image), Path(name) / SCAN_FILE):
            files = self._files(scan, brain, sequence, space, Path(name))
            return self._harmonize_files(files, sequence, outside)

    def _files(
        self, scan: nib.Nifti1Image, brain: np.ndarray | None, sequence: str, space: str, folder: Path
    ) -> dict[str, Path]:
        if space == "template":
            return resample_to_grid(scan, brain, grid=self._grid, folder=folder)
        return preprocess_scan(
            scan,
            brain,
            sequence=sequence,
            template=self._template,
            grid=self._grid,
            folder=folder,
            options=self._options,
        )

    def _harmonize_files(self, files: dict[str, Path], sequence: str, outside: str) -> nib.Nifti1Image:
        on_grid = nib.Nifti1Image.from_filename(files["mni_preproc"])
        mask = np.asarray(nib.Nifti1Image.from_filename(files["mni_mask"]).dataobj) > 0
        values = np.asarray(on_grid.dataobj, dtype=np.float32)
        result = harmonize_volume(self._model, values, mask, sequence)
        if "native_preproc" not in files:
            return stored_image(result.after, mask, on_grid)
        return stored_on_native(
            result,
            mask,
            grid=self._grid,
            to_mni_xfm=files["to_mni_xfm"],
            preproc=files["native_preproc"],
            brain=files["native_mask"],
            outside=outside,
        )

    @property
    def _grid(self) -> Grid:
        return model_grid(self.spacing)

    @cached_property
    def _template(self) -> Template:
        return find_template(self._template_name, Path(self._template_folder.name))

    @cached_property
    def _template_folder(self) -> TemporaryDirectory[str]:
        return TemporaryDirectory()  # goes when this object does


def _one_of(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise UsageError(f"{name}='{value}' is not known: use {' or '.join(map(repr, known))}.")


def _as_scan(image: SpatialImage) -> nib.Nifti1Image:
    """A float32 NIfTI image of a scan from whatever nibabel reads, with the header's geometry."""
    if len(image.shape) != 3:
        shape = "x".join(map(str, image.shape))
        raise BadDataError(
            f"{_name(image)} has the shape {shape}: give one three-dimensional volume, such as "
            "image.slicer[..., 0]."
        )
    data = np.asanyarray(image.dataobj)
    if data.dtype.kind not in "iufb":
        raise BadDataError(f"{_name(image)} holds colours or complex numbers: give the magnitude image.")
    header = nib.Nifti1Image.from_image(image).header.copy()
    header.set_data_dtype(np.float32)
    return nib.Nifti1Image(data.astype(np.float32), image.affine, header)


def _as_brain(mask: SpatialImage, image: SpatialImage) -> np.ndarray:
    if mask.shape != image.shape or not np.allclose(mask.affine, image.affine, atol=1e-3):
        raise BadDataError(
            f"{_name(mask)} is not on the voxels of the image (shapes {mask.shape} and {image.shape}): "
            "resample the mask."
        )
    brain = np.asanyarray(mask.dataobj) > 0
    if not brain.any():
        raise BadDataError(f"{_name(mask)} is empty: give the image's brain mask, or none to find the brain.")
    return brain


def _name(image: SpatialImage) -> str:
    return image.get_filename() or "The image in memory"


@contextmanager
def _naming(image: str, file: Path) -> Iterator[None]:
    """Name the image, not the temporary file that it was written to, where something is wrong with it."""
    try:
        yield
    except BidsMmhError as error:
        raise type(error)(str(error).replace(str(file), image)) from error
