"""The template that scans are registered to, found without waiting long for a network."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bids_mmh.errors import UsageError

TEMPLATEFLOW_SPACE = "MNI152NLin2009cAsym"
NILEARN_SPACE = "MNI152NLin2009aSym"
FETCH_SECONDS = 20.0

# TemplateFlow fills its home with empty placeholders when it is imported, and retries without a network for a
# time that it does not let its caller choose: a process of its own can be stopped. Its import takes seconds,
# so a look comes first whether there is a network at all; behind a proxy only trying can tell.
_FETCH_SCRIPT = """
import socket, sys
from urllib.request import getproxies
if not getproxies():
    socket.getaddrinfo("templateflow.s3.amazonaws.com", 443)
from templateflow.api import get
get(sys.argv[1], resolution=1, desc=None, suffix="T1w")
get(sys.argv[1], resolution=1, desc="brain", suffix="mask")
"""


@dataclass(frozen=True)
class Template:
    """A template brain.

    Attributes:
        space: BIDS name of the space, as in ``space-<label>``.
        t1w: NIfTI file of the T1w template, 1 mm; with or without the head.
        brain_mask: NIfTI file of its brain mask on the same voxels.
        source: A sentence on where it came from and why it is used.
    """

    space: str
    t1w: Path
    brain_mask: Path
    source: str


def find_template(name: str, cache_dir: Path) -> Template:
    """Find a template, or the one that ships with nilearn if it is not available.

    Args:
        name: ``MNI152NLin2009cAsym`` (from TemplateFlow) or ``MNI152NLin2009aSym`` (from nilearn).
        cache_dir: Folder for the brain mask of nilearn's template; made if missing.

    Returns:
        The template, under the name of the space that was really used.

    Raises:
        UsageError: If the name is neither of the two.
    """
    if name == NILEARN_SPACE:
        return _nilearn_template(cache_dir, "as asked for")
    if name != TEMPLATEFLOW_SPACE:
        raise UsageError(f"The template {name} is not known; choose {TEMPLATEFLOW_SPACE} or {NILEARN_SPACE}.")
    files = templateflow_files(name=name)
    if all(_is_usable(path) for path in files):
        return Template(
            name, *files, f"{name} at 1 mm from the local TemplateFlow home {files[0].parents[1]}."
        )
    if _fetch(name) and all(_is_usable(path) for path in files):
        return Template(name, *files, f"{name} at 1 mm, fetched now from TemplateFlow.")
    return _nilearn_template(
        cache_dir, f"because {name} is not in the TemplateFlow home and could not be fetched"
    )


def templateflow_files(
    environ: Mapping[str, str] = os.environ, name: str = TEMPLATEFLOW_SPACE
) -> tuple[Path, Path]:
    """Give the paths of a template in the TemplateFlow home, whether they exist or not.

    Args:
        environ: Environment variables.
        name: Name of the template.

    Returns:
        The T1w template and its brain mask.

    Examples:
        >>> t1w, mask = templateflow_files({"TEMPLATEFLOW_HOME": "/templates"})
        >>> t1w.as_posix()
        '/templates/tpl-MNI152NLin2009cAsym/tpl-MNI152NLin2009cAsym_res-01_T1w.nii.gz'
    """
    home = Path(environ.get("TEMPLATEFLOW_HOME") or Path.home() / ".cache" / "templateflow")
    folder = home / f"tpl-{name}"
    stem = f"tpl-{name}_res-01"
    return folder / f"{stem}_T1w.nii.gz", folder / f"{stem}_desc-brain_mask.nii.gz"


def _is_usable(path: Path) -> bool:
    # An empty placeholder and a download cut short both exist as files: only reading to the end tells.
    import nibabel as nib
    import numpy as np

    if not path.is_file() or path.stat().st_size == 0:
        return False
    try:
        return bool(np.asanyarray(nib.Nifti1Image.from_filename(path).dataobj).any())
    except (OSError, EOFError, nib.filebasedimages.ImageFileError):
        return False


def _fetch(name: str) -> bool:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _FETCH_SCRIPT, name],
            timeout=FETCH_SECONDS,
            capture_output=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _nilearn_template(cache_dir: Path, reason: str) -> Template:
    t1w = _folder_of("nilearn") / "datasets" / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    mask_file = cache_dir / f"tpl-{NILEARN_SPACE}_res-01_desc-brain_mask.nii.gz"
    if not _is_usable(mask_file):
        _write_brain_mask(t1w, mask_file)
    source = f"{NILEARN_SPACE}, the ICBM 2009a symmetric brain at 1 mm that ships with nilearn, {reason}."
    return Template(NILEARN_SPACE, t1w, mask_file, source)


def _folder_of(package: str) -> Path:
    """Folder of an installed package, which is not imported: nilearn takes seconds."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(package)
    return Path(found.origin).parent


def _write_brain_mask(t1w: Path, mask_file: Path) -> None:
    """Write the mask of a T1w of a brain alone: its zeros inside are ventricles and deep sulci."""
    import nibabel as nib
    import numpy as np
    from scipy import ndimage

    from bids_mmh.preprocess.images import save_nifti

    image = nib.Nifti1Image.from_filename(t1w)
    brain = ndimage.binary_closing(np.asanyarray(image.dataobj) > 0, iterations=2)
    brain = ndimage.binary_fill_holes(brain).astype(np.uint8)
    save_nifti(nib.Nifti1Image(brain, image.affine), mask_file)
