"""Training of MMH models on preprocessed derivatives.

A ``recipe`` says what to train. ``data`` reads the scans, ``split`` says whose are trained on, ``cache``
keeps them on the model's grid, ``augment`` changes them and ``loader`` brings them in the order of ``plan``.
A ``task`` says what learns and what an item costs (``stage1``, with ``objective``); ``loop`` trains it on
what ``engine`` found. ``journal``, ``tables`` and ``checkpoint`` are what it writes down.
``bids-mmh-train`` is the command; :func:`bids_mmh.training.run.train` the same from Python.
"""
