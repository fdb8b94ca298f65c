"""The method of MMH (Wu et al. 2026), one idea a file.

Everything here maps tensors to tensors: noise schedule, gradient condition, network, style records, losses,
DDIM inversion and sampling, and the harmonizer that puts them together. No files but the model folder itself,
no BIDS, no image formats.
"""
