"""What the container image that a run is in was built with, as far as that is optional."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_mmh.preprocess.template import TEMPLATEFLOW_SPACE, templateflow_files

TAG_VARIABLE = "BIDS_MMH_DOCKER_TAG"
SYNTHSTRIP_VARIABLE, BIOMEDCLIP_VARIABLE = "BIDS_MMH_SYNTHSTRIP", "BIDS_MMH_BIOMEDCLIP"


@dataclass(frozen=True)
class ImageContents:
    """An image by its tag, and what of the optional files it holds and lacks, in words."""

    tag: str
    holds: tuple[str, ...]
    lacks: tuple[str, ...]

    def sentence(self) -> str:
        """Say it all in one line."""
        said = [f"holds {', '.join(self.holds)}"] if self.holds else []
        said += [f"lacks {', '.join(self.lacks)}"] if self.lacks else []
        return f"Image {self.tag} {' and '.join(said)}."


def image_contents(environ: Mapping[str, str] = os.environ) -> ImageContents | None:
    """Look at what was baked into this image; None outside of one."""
    tag = environ.get(TAG_VARIABLE)
    if not tag:
        return None
    there = {
        f"the template {TEMPLATEFLOW_SPACE}": all(map(_is_there, templateflow_files(environ))),
        "weights of SynthStrip": _is_there(environ.get(SYNTHSTRIP_VARIABLE)),
        "weights of BiomedCLIP": _is_there(environ.get(BIOMEDCLIP_VARIABLE)),
    }
    holds = tuple(name for name, found in there.items() if found)
    return ImageContents(tag, holds, tuple(name for name, found in there.items() if not found))


def _is_there(path: str | Path | None) -> bool:
    # TemplateFlow leaves empty files where it has not fetched anything yet.
    return path is not None and Path(path).is_file() and Path(path).stat().st_size > 0
