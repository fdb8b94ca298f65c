"""What all tests share: one thread each, and what is made once for all processes of a test run."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

# Before any library starts its threads: the arrays are small, and each core has a process of tests.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"

Once = Callable[[str, Callable[[Path], object]], Path]

# Folders of the files that take longest.
LONGEST = ("integration", "training/stage2", "benchmarks", "training", "group", "participant")


def pytest_collection_modifyitems(items):
    """Begin with long files: a process that begins one when the others have ended keeps them waiting."""
    folders = [Path(__file__).parent / name for name in LONGEST]

    def place(item):
        within = [item.path.is_relative_to(folder) for folder in folders]
        return (*within, True).index(True)

    items.sort(key=place)


@contextmanager
def _small_disk(folder: Path, kilobytes: int):
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")

    def grow(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

    try:
        yield grow
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def small_disk():
    """``with small_disk(folder, kilobytes) as grow``: a file system of its own, and what makes it larger."""
    return _small_disk


@pytest.fixture(autouse=True)
def no_handler_left_behind():
    """A command that a test calls logs to the stream of that test, which is closed afterwards."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in [one for one in root.handlers if one not in before]:
        root.removeHandler(handler)


@pytest.fixture(scope="session")
def template_tissues():
    """The template's most probable tissue in each voxel of a grid: 0 fluid, 1 grey, 2 white matter."""
    import numpy as np

    from bids_mmh.method.style.tissues import default_priors, priors_on_grid

    def most_probable(shape):
        return np.array([0, 1, 1, 2])[priors_on_grid(default_priors()[None], shape)[0].argmax(0)]

    return most_probable


@pytest.fixture(autouse=True)
def one_thread():
    """Code that a test calls sets the threads of its process, which is the next test's too."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "SimpleITK" in sys.modules:
        sys.modules["SimpleITK"].ProcessObject.SetGlobalDefaultNumberOfThreads(1)


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Once:
    """Make a folder once for all processes of a test run; tests that change what is in it take a copy."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, partial = shared / name, shared / f"{name}.partial"
        with FileLock(shared / f"{name}.lock"):
            if not folder.exists():
                shutil.rmtree(partial, ignore_errors=True)  # of another process, where making it failed
                make(partial)
                partial.rename(folder)
        return folder

    return once


@pytest.fixture(scope="session")
def phantom(once) -> Path:
    """Raw data of two subjects at two sites, the first of them at both, at 4 mm, and their truth."""
    from bids_mmh.phantom.dataset import make_phantom

    wanted = {"subjects": 2, "sites": 2, "travelling": 1, "seed": 3, "resolution": 4}
    return once("phantom", lambda folder: make_phantom(folder, **wanted))


@pytest.fixture(scope="session")
def template(once):
    """The template that needs no network."""
    from bids_mmh.preprocess.template import NILEARN_SPACE, find_template

    return find_template(NILEARN_SPACE, once("template", lambda folder: find_template(NILEARN_SPACE, folder)))


@pytest.fixture(scope="session")
def write_derivative():
    """Write an image in template space, its mask and its sidecar, by the registry of names and of fields."""
    import nibabel as nib
    import numpy as np

    from bids_mmh.derivatives.outputs import OUTPUTS
    from bids_mmh.derivatives.sidecar import IntensityScaling, Sidecar

    def write(
        root, entities, image, mask, *, kind="preproc", scaling=(0.01, -1.0), res="1", affine=None, **fields
    ):
        """Returns the sidecar. ``image`` is in stored units, ``scaling`` slope and intercept."""
        fields = {"sequence": "T1w", "space": "MNI152NLin2009cAsym"} | fields
        place = {"sequence": fields["sequence"], "space": fields["space"], "res": res, "brain": "brain"}
        files = {key: OUTPUTS[key].path(root, entities, **place) for key in (f"mni_{kind}", "mni_mask")}
        for file, array in zip(files.values(), (np.float32(image), np.uint8(mask)), strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), file)
        slope, intercept = scaling
        sidecar = Sidecar(
            brain_mask=files["mni_mask"].name,
            intensity_scaling=IntensityScaling(slope=slope, intercept=intercept),
            **fields,
        )
        file = files[f"mni_{kind}"]
        return sidecar.write(file.with_name(f"{file.name.partition('.')[0]}.json"), f"mni_{kind}")

    return write


@pytest.fixture(scope="session")
def write_anatomies():
    """Write small anatomies, shells of fluid, cortex, white matter and putamen: sizes by their names."""
    import numpy as np

    from bids_mmh.synthesis.regions import Region

    def write(folder: Path, sizes: Mapping[str, float]) -> Path:
        (folder / "labels").mkdir(parents=True)
        axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in (36, 46, 46)), indexing="ij")
        for name, size in sizes.items():
            radius = np.sqrt(sum(axis**2 for axis in axes)) / size
            first = np.full(radius.shape, int(Region.CSF), dtype=np.uint8)
            for limit, region in ((0.8, Region.CORTEX), (0.65, Region.WHITE), (0.2, Region.PUTAMEN)):
                first[radius < limit] = region
            np.savez(
                folder / "labels" / f"{name}.npz",
                first=first,
                second=np.roll(first, 1, axis=0),
                share=np.full(radius.shape, 230, dtype=np.uint8),
                texture=np.zeros((1, 1, 1), dtype=np.int8),
                mask=radius < 0.9,
            )
        return folder

    return write


class Visit(NamedTuple):
    """A scan, as far as pairs and target sites ask for it."""

    subject: str
    site: str
    number: int = 0


@pytest.fixture(scope="session")
def visits():
    """Three subjects: two have travelled, one of them was scanned twice at a site."""
    return [
        Visit("sub-01", "west"),
        Visit("sub-01", "east"),
        Visit("sub-01", "east", 2),
        Visit("sub-02", "west"),
        Visit("sub-02", "north"),
        Visit("sub-03", "east"),
    ]
