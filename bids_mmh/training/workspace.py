"""What the stages of one run share: processes, scans and who they are for, and the folder of the run."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mmh.derivatives.scan import DerivedScan
from bids_mmh.errors import UsageError
from bids_mmh.method.config import ModelConfig
from bids_mmh.training.data.split import Split
from bids_mmh.training.data.volume_cache import VolumeCache
from bids_mmh.training.processes import on_first

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Workspace:
    """Shared by the stages of one run.

    Attributes:
        fabric: launched.
        folder: ``MODEL_FOLDER/training``, seen by all processes; ``cache/`` in it is shared, and each stage
            has its own folder there.
        scans: all scans there are.
        split: who is trained on, validated on, and never read.
        workers: reading processes per device.
        anatomies: prepared anatomies of the generator, for recipes that simulate.
    """

    fabric: "Fabric"
    folder: Path
    scans: list[DerivedScan]
    split: Split
    workers: int = 0
    anatomies: Path | None = None

    def require_anatomies(self) -> Path:
        """Folder of the generator's anatomies.

        Raises:
            UsageError: none was named.
        """
        if self.anatomies is None:
            raise UsageError("The recipe simulates its pairs: name the folder of anatomies by --anatomies.")
        return self.anatomies

    def cache(self, config: ModelConfig, part: str) -> VolumeCache:
        """Volumes of the subjects of a part (``train`` or ``validation``) on a model's grid.

        The first process builds what is missing while the others wait; all must call it.
        """
        cache = VolumeCache(self.split.scans(self.scans, part), config, self.folder / "cache")
        on_first(self.fabric, lambda: cache.build(threads=min(16, os.cpu_count() or 1)))
        return cache

    def fingerprint(self, *settings: object) -> str:
        """Digest of settings and of the scans trained and validated on; a checkpoint belongs to one."""
        scans = [
            [(s.image.name, s.session, s.sequence, s.site) for s in self.split.scans(self.scans, part)]
            for part in ("train", "validation")
        ]
        return hashlib.sha256(repr((settings, scans)).encode()).hexdigest()
