"""bids-mmh: image-level harmonization of multi-site, multi-sequence brain MRI as a BIDS App."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bids_mmh.api import Harmonizer

__all__ = ["Harmonizer"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import the Python interface when it is first asked for: the commands start without it."""
    if name in __all__:
        from bids_mmh import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
