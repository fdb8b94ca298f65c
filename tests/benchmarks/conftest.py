import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def load_benchmark():
    """Import a script of ``benchmarks/``, such as ``speed/bench``, as if it ran: its folder is on the path.

    What it imports from there is forgotten with it, since folders may have modules of the same name.
    """
    path, modules = list(sys.path), set(sys.modules)

    def load(script):
        folder, name = (BENCHMARKS / script).parent, Path(script).name
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        return importlib.import_module(name)

    yield load
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(BENCHMARKS)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def write_scaled(write_derivative):
    """Write a derivative whose scaled intensities are ``volume``, and return its name."""

    def write(root, subject, site, kind, *, volume, mask, scaling):
        slope, intercept = scaling
        stored = np.where(volume == -1, 0, (volume - intercept) / slope)
        entities = {"subject": subject, "session": site}
        path = write_derivative(root, entities, stored, mask, kind=kind, scaling=scaling, site=site)
        return path.stem

    return write
