"""BIDS as it is read: which scans there are, and how results are named, described and written.

``inputs`` finds sessions and their scans, ``sites`` says which scanner each came from, ``validation`` asks
the BIDS validator; ``names`` and ``provenance`` describe what is written, and ``atomic`` writes it so that a
half-written file never carries its final name. Nothing here knows tensors.
"""
