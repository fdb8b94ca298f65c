"""Training of MMH models on preprocessed derivatives: data, recipe, Stage I, engine.

``bids-mmh-train`` is the command; :func:`bids_mmh.training.run.train` the same from Python.
"""
