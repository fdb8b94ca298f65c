"""FreeSurfer's programs instead of the built-in ones: mri_synthstrip, mri_coreg and lta_convert.

FreeSurfer 7.3 or later must be installed (mri_synthstrip came with it). The bias field is still corrected
with N4, which recon-all uses itself.
"""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import CommandLine, CommandLineInputSpec, File, TraitedSpec

from bids_mmh.errors import BadDataError, UsageError
from bids_mmh.preprocess.images import image_like, read_nifti, to_array
from bids_mmh.preprocess.steps.brain import plausible

if TYPE_CHECKING:
    import SimpleITK

COMMANDS = ("mri_synthstrip", "mri_coreg", "lta_convert")


class _StripInputs(CommandLineInputSpec):
    in_file = File(exists=True, mandatory=True, argstr="-i %s", position=0, desc="head")
    mask_file = File(mandatory=True, argstr="-m %s", position=1, desc="brain mask to write")


class _StripOutputs(TraitedSpec):
    mask_file = File(exists=True)


class MriSynthStrip(CommandLine):
    """The command ``mri_synthstrip``, for which Nipype 1.11 has no interface."""

    _cmd = "mri_synthstrip"
    input_spec = _StripInputs
    output_spec = _StripOutputs

    def _list_outputs(self) -> dict[str, Any]:
        return {"mask_file": str(self.inputs.mask_file)}


def check_freesurfer() -> None:
    """Check that FreeSurfer can be called.

    Raises:
        UsageError: If a command is not on the PATH, or there is no licence file.
    """
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        raise UsageError(
            f"--preproc-engine freesurfer needs FreeSurfer 7.3 or later, but {', '.join(missing)} is not on "
            "the PATH: source its SetUpFreeSurfer.sh, or use --preproc-engine builtin."
        )
    home = Path(os.environ.get("FREESURFER_HOME", ""))
    licences = [os.environ.get("FS_LICENSE", ""), str(home / "license.txt"), str(home / ".license")]
    if not any(licence and Path(licence).is_file() for licence in licences):
        raise UsageError(
            "FreeSurfer has no licence file: put license.txt into FREESURFER_HOME, or set FS_LICENSE to its "
            "path."
        )


def freesurfer_mask(image: "SimpleITK.Image", work_dir: Path, threads: int = 1) -> "SimpleITK.Image":
    """Extract the brain of a head of any contrast with ``mri_synthstrip``.

    Args:
        image: RAS working image.
        work_dir: Folder for the two files.
        threads: Number of CPU threads.

    Returns:
        uint8 mask on the voxels of ``image``.

    Raises:
        BadDataError: If the command fails or the brain has no plausible volume.
    """
    source, target = _write(image, work_dir / "synthstrip_in.nii.gz"), work_dir / "synthstrip_mask.nii.gz"
    strip = MriSynthStrip(in_file=str(source), mask_file=str(target), environ=_environment(threads))
    _run(strip, work_dir)
    found = to_array(read_nifti(target, np.float32))
    if found.shape != image.GetSize():
        raise BadDataError(f"mri_synthstrip gave a mask of another shape {found.shape}: check FreeSurfer.")
    return plausible(image_like((found > 0.5).astype(np.uint8), image), "mri_synthstrip")


def coregister(
    fixed: "SimpleITK.Image",
    fixed_mask: "SimpleITK.Image",
    moving: "SimpleITK.Image",
    *,
    dof: int,
    work_dir: Path,
    threads: int = 1,
) -> "SimpleITK.AffineTransform":
    """Register two images of any contrasts with ``mri_coreg`` and convert its result to an ITK transform.

    Args:
        fixed: Fixed image.
        fixed_mask: uint8 brain mask on the voxels of ``fixed``.
        moving: Moving image.
        dof: 6 (rigid) or 9 (rigid and three scales).
        work_dir: Folder for all files.
        threads: Number of CPU threads.

    Returns:
        The transform from points of ``fixed`` to points of ``moving``.

    Raises:
        BadDataError: If a command fails.
    """
    from nipype.interfaces.freesurfer import MRICoreg
    from nipype.interfaces.freesurfer.utils import LTAConvert

    from bids_mmh.preprocess.transforms import read_transform

    lta, itk = work_dir / "coreg.lta", work_dir / "coreg_itk.txt"
    align = MRICoreg(
        source_file=str(_write(moving, work_dir / "coreg_moving.nii.gz")),
        reference_file=str(_write(fixed, work_dir / "coreg_fixed.nii.gz")),
        reference_mask=str(_write(fixed_mask, work_dir / "coreg_mask.nii.gz")),
        out_lta_file=str(lta),
        dof=dof,
        num_threads=threads,
        subjects_dir=str(work_dir),
    )
    _run(align, work_dir)
    _run(LTAConvert(in_lta=str(lta), out_itk=str(itk)), work_dir)
    return read_transform(itk)


def _write(image: "SimpleITK.Image", path: Path) -> Path:
    import SimpleITK

    SimpleITK.WriteImage(image, str(path))
    return path


def _environment(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads)}


def _run(command: CommandLine, work_dir: Path) -> None:
    try:
        command.run(cwd=str(work_dir))
    except (OSError, RuntimeError) as error:
        # Nipype's message is long; the last line of the command's own output gives the reason.
        last = (str(error).strip().splitlines() or ["no message"])[-1].strip()
        raise BadDataError(
            f"FreeSurfer's {command.cmd} failed ({last}): run it by hand to see why."
        ) from error
