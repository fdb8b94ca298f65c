"""Training of MMH models on preprocessed derivatives.

A ``recipe`` defines what is trained. ``data`` finds, splits, caches, augments and orders the scans.
``stage1`` and ``stage2`` are the two tasks, each with its objective; ``loop`` trains either of them on the
devices that ``engine`` provides; ``workspace`` is what the stages of a run share. ``slice_encoder`` trains
the encoder that Stage II compares slices with, ``sweep`` chooses a model's depth and steps.
``bids-mmh-train`` is the command; :func:`bids_mmh.training.run.train` the same from Python.
"""
