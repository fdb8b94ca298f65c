"""What a run tells of itself: software versions and the text for a methods section."""

import platform
from functools import cache
from importlib.metadata import version

from bids_mmh import __version__
from bids_mmh.derivatives.models import ModelReference
from bids_mmh.preprocess.template import TEMPLATEFLOW_SPACE, Template
from bids_mmh.reports.citation import ModelUsed, methods_text
from bids_mmh.settings import Settings

PACKAGES = (
    "torch",
    "nipype",
    "pybids",
    "SimpleITK",
    "nibabel",
    "deepbet",
    "templateflow",
    "nilearn",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    installed = {package: _version(package) for package in PACKAGES}
    return {"bids-mmh": __version__, "python": platform.python_version()} | installed


@cache
def _version(package: str) -> str:
    return version(package)


def boilerplate(settings: Settings, model: ModelReference | None, template: Template, device: str) -> str:
    """The methods text of a run, with its references; ``device`` is what the model runs on."""
    return methods_text(
        template=template.space,
        sequences=settings.sequences,
        model=_model_used(model) if model else None,
        device=device,
        versions=versions(),
        from_templateflow=template.space == TEMPLATEFLOW_SPACE,
        sloppy=settings.sloppy,
        engine=settings.preproc_engine,
        skull_strip=settings.skull_strip,
        no_preproc=settings.no_preproc,
        derivatives=list(settings.derivative_folders),
    )


def _model_used(model: ModelReference) -> ModelUsed:
    config = model.config
    return ModelUsed(
        name=f"{model.name} ({model.sha256[:8]})",
        denoised=config.denoise > 0,
        by_tissue=config.intensity_map == "tissues",
        target=config.target.site if config.target else None,
        encoder=config.target.encoder if config.target else None,
    )
