#!/usr/bin/env python3
"""Entry of the BIDS App: ``python run.py bids_dir output_dir {participant,group} [options]``."""

from bids_mmh.cli.main import console

if __name__ == "__main__":
    console()
