"""What ships with the package: the embedded model in ``embedded/``, with its card."""
