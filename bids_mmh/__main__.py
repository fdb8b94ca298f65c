"""``python -m bids_mmh``: the same as the command ``bids-mmh``."""

from bids_mmh.cli.main import console

if __name__ == "__main__":
    console()
