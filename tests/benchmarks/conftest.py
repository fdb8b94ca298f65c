import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def load_benchmark():
    """Import a script of ``benchmarks/`` as Python would run it: with its folder on the path."""
    loaded = []

    def load(name):
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    sys.path.insert(0, str(BENCHMARKS))
    yield load
    sys.path.remove(str(BENCHMARKS))
    for name in loaded:
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
