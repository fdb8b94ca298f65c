"""Training of MMH models on preprocessed derivatives.

A ``recipe`` says what to train, ``data`` reads the scans, ``plan`` says what each step does, ``objective``
what it costs, ``engine`` where it runs; ``stage1`` is the loop and ``tables`` what it writes down.
``bids-mmh-train`` is the command; :func:`bids_mmh.training.run.train` the same from Python.
"""
