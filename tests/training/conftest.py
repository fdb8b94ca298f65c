import csv
import shutil
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_mmh.method.config import PRESETS, TargetConfig
from bids_mmh.method.encoder.slices import load_encoder
from bids_mmh.method.encoder.style_network import StyleNetwork, StyleNetworkConfig, save_style_network
from bids_mmh.method.encoder.tpa_clip import TriPlanarConfig, TriPlanarEncoder
from bids_mmh.method.harmonizer import Harmonizer
from bids_mmh.method.style.statistics import StyleStatistics, soft_histogram
from bids_mmh.training.data.scans import find_scans
from bids_mmh.training.data.split import Split
from bids_mmh.training.data.volume_cache import VolumeCache
from bids_mmh.training.engine import Compute, make_fabric
from bids_mmh.training.loop.training_loop import Loop
from bids_mmh.training.recipe import Phase, Recipe, Stage2Recipe, model_on_grid
from bids_mmh.training.stage2.stage1_cache import Stage1Cache, build_cache, maker_of
from bids_mmh.training.stage2.target_site import set_target_records
from bids_mmh.training.stage2.task import start_from
from bids_mmh.training.workspace import Workspace

SPACING = 16.0  # mm; the grid is then (9, 12, 12)
HELD_OUT = ("sub-04", "sub-09")


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(7)


@pytest.fixture(scope="session")
def write_scan(write_derivative):
    """Write a preprocessed scan on the grid of 16 mm; returns the sidecar."""

    def write(root, subject, sequence="T1w", *, session=None, array=None, mask=None, site="alpha", **fields):
        if array is None:
            array = np.random.default_rng(sum(map(ord, subject + sequence))).uniform(20, 180, (9, 12, 12))
        if mask is None:
            mask = np.zeros(array.shape)
            mask[1:-1, 1:-1, 1:-1] = 1
        entities = {"subject": subject} | ({"session": session} if session else {})
        return write_derivative(root, entities, array, mask, sequence=sequence, site=site, **fields)

    return write


@pytest.fixture(scope="session")
def interrupt_after():
    """Let the next run be killed after some optimizer steps."""

    def interrupt(monkeypatch, steps):
        original, done = Loop._optimizer_step, []

        def step(self, *arguments):
            if len(done) == steps:
                raise KeyboardInterrupt
            done.append(None)
            return original(self, *arguments)

        monkeypatch.setattr(Loop, "_optimizer_step", step)

    return interrupt


@pytest.fixture(scope="session")
def losses_of():
    """Read the rows of the table of losses that Stage I has left in a model's folder."""

    def read(folder):
        with (folder / "training" / "stage1" / "losses.tsv").open(newline="") as stream:
            return list(csv.DictReader(stream, delimiter="\t"))

    return read


@pytest.fixture(scope="session")
def three_subjects(write_scan, tmp_path_factory):
    """What ``derivatives`` is a copy of; not to be changed."""
    root = tmp_path_factory.mktemp("three")
    for subject, sequence in product(("01", "02", "03"), ("T1w", "T2w")):
        write_scan(root, subject, sequence)
    return root


@pytest.fixture
def derivatives(three_subjects, tmp_path):
    """Three subjects, T1w and T2w each, on the grid of 16 mm."""
    return Path(shutil.copytree(three_subjects, tmp_path / "derivatives"))


@pytest.fixture(scope="session")
def write_study(write_scan):
    """Two sites of five subjects, one of them (05) at both, T1w and T2w each; beta's contrast is another."""

    def write(root):
        visits = [("alpha", f"{k:02d}") for k in (1, 2, 3, 4, 5)]
        visits += [("beta", f"{k:02d}") for k in (5, 6, 7, 8, 9)]
        for (site, subject), sequence in product(visits, ("T1w", "T2w")):
            unit = np.random.default_rng(int(subject)).uniform(0.1, 0.9, (9, 12, 12))
            unit = 1 - unit if sequence == "T2w" else unit
            array = 200 * (unit if site == "alpha" else 0.3 + 0.6 * unit**2)
            write_scan(root, subject, sequence, session=site, array=array, site=site)
        return root

    return write


@pytest.fixture(scope="session")
def two_sites(write_study, once):
    """Derivatives of two sites and of a subject who was at both; not to be changed."""
    return once("two_sites", write_study)


@pytest.fixture
def sites(two_sites, tmp_path):
    """A copy of ``two_sites``."""
    return Path(shutil.copytree(two_sites, tmp_path / "sites"))


@pytest.fixture(scope="session")
def tiny():
    return _tiny()


def _tiny():
    model = replace(PRESETS["tiny"], bins=20, intensity_map="moments")
    network = replace(model.network, patch=1, style_code="displacement", intensity_bins=0)
    return model_on_grid(replace(model, network=network), SPACING)


@pytest.fixture(scope="session")
def recipe(tiny):
    """Six steps of two volumes; a checkpoint after three."""
    phase = Phase(SPACING, steps=6, learning_rate=1e-3, accumulate=2)
    return Recipe(model=tiny, phases=(phase,), seed=5, validate_every=3, max_timestep=200)


def _small_encoder(folder, seed=0):
    """An untrained slice encoder of 16 pixels and 16 features, in a folder; returns the folder."""
    network = StyleNetworkConfig(name="small", size=16, dim=16, tones=4, widths=(8, 8))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_style_network(StyleNetwork(network), folder)
    return folder


@pytest.fixture(scope="session")
def small_encoder(tmp_path_factory):
    return _small_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def stage2(small_encoder):
    """Four steps of two sources towards alpha; a checkpoint after two."""
    return Stage2Recipe(
        steps=4,
        learning_rate=1e-3,
        aggregator_steps=20,
        accumulate=2,
        backprop_steps=2,
        target_site="alpha",
        encoder=str(small_encoder),
        slices=3,
        weight_average=0.0,
        validate_every=2,
    )


@pytest.fixture
def two_stages(recipe, stage2):
    """Both stages, and the subject who was at both sites is trained on."""
    return replace(recipe, travelling="train", stage2=stage2)


def _stage1_model(seed=0):
    """A Stage I model that answers, and whose unified domains are not those of a fresh one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Harmonizer(_tiny())
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.02)
            # training leaves hardly a direct change of a volume conditioned on its own style
            for parameter in model.network.head.parameters():
                parameter[len(parameter) // 2 :] *= 0.02
        for m, (mean, std) in enumerate([(0.1, 0.35), (-0.1, 0.3)]):
            values = torch.randn(500) * std + mean
            histogram = soft_histogram(values, model.config.bins)
            model.records.assign(
                m, StyleStatistics(histogram[None], torch.tensor([mean]), torch.tensor([std]))
            )
    return model.eval()


@pytest.fixture
def stage1_model():
    return _stage1_model()


@pytest.fixture
def workspace(tmp_path):
    """The workspace of a run on the study of two sites; 04 and 09 validate, 03 tests."""

    def make(derivatives):
        scans = find_scans([derivatives], ["T1w", "T2w"])
        held_out, test = frozenset(HELD_OUT), frozenset({"sub-03"})
        train = frozenset(scan.subject for scan in scans) - held_out - test
        return Workspace(make_fabric(Compute("cpu")), tmp_path / "run", scans, Split(train, held_out, test))

    return make


@dataclass
class Prepared:
    """Stage II, ready to begin: alpha is the target, 04 and 09 are held out, 03 is nowhere."""

    stage1: Harmonizer
    model: Harmonizer
    psi: TriPlanarEncoder
    cache: Stage1Cache
    held_out: Stage1Cache


def _frozen(small_encoder):
    """A Stage I model on its way to alpha, and Ψ."""
    stage1 = _stage1_model()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        psi = TriPlanarEncoder(load_encoder(small_encoder), TriPlanarConfig(slices=3))
    target = TargetConfig("alpha", psi.encoder.name, psi.encoder.digest, "attention")
    return stage1, start_from(stage1, target), psi


def _cached(scans, folder, model, psi):
    """Volumes and Stage I results of scans in a folder as ``training/`` of a run is."""
    volumes = VolumeCache(scans, model.config, folder / "cache")
    return Stage1Cache(volumes, folder / "stage2" / "stage1_cache", maker_of(model, psi))


@pytest.fixture(scope="session")
def unified(once, two_sites, small_encoder):
    """What a run on ``two_sites`` keeps of Stage I; to be copied.

    To apply Stage I to twenty scans takes longer than the few steps of a test.
    """

    def make(folder):
        _, model, psi = _frozen(small_encoder)
        cache = _cached(find_scans([two_sites], ["T1w", "T2w"]), folder, model, psi)
        cache.volumes.build()
        build_cache(cache, model, psi, make_fabric(Compute("cpu")))

    return once("unified", make)


@pytest.fixture
def begun(unified, two_sites, workspace, tmp_path):
    """The workspace of a run on ``two_sites`` that has applied Stage I to its scans."""
    shutil.copytree(unified, tmp_path / "run")
    return workspace(two_sites)


@pytest.fixture(scope="session")
def prepared(two_sites, small_encoder, unified):
    """Made once for all tests; not to be changed."""
    scans = find_scans([two_sites], ["T1w", "T2w"])
    stage1, model, psi = _frozen(small_encoder)
    train = [scan for scan in scans if scan.subject not in (*HELD_OUT, "sub-03")]
    held_out = [scan for scan in scans if scan.subject in HELD_OUT]
    parts = [_cached(part, unified, model, psi) for part in (train, held_out)]
    set_target_records(model, model.target_records, parts[0].volumes, "alpha")
    return Prepared(stage1, model, psi, *parts)
