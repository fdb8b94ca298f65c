"""The text of ``--version``: program, digest of the embedded model, and the container image, if any."""

import argparse
import sys
from typing import Any

from bids_mmh import __version__


class PrintVersion(argparse.Action):
    """Print the version and exit; the digest is computed only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:  # noqa: ANN401
        """Print :func:`version_text`."""
        sys.stdout.write(version_text() + "\n")
        parser.exit()


def version_text() -> str:
    """Describe the program, the embedded model and the container image; no heavy library is loaded.

    Returns:
        A line for each.
    """
    from bids_mmh.method.model_files import embedded_folder, model_sha256
    from bids_mmh.runtime.container_image import image_contents

    lines = [f"bids-mmh {__version__}", f"embedded model: SHA-256 {model_sha256(embedded_folder())}"]
    image = image_contents()
    return "\n".join(lines + ([image.sentence()] if image else []))
