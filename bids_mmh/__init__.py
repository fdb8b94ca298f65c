"""bids-mmh: image-level harmonization of multi-site, multi-sequence brain MRI as a BIDS App."""

__version__ = "0.1.0"
