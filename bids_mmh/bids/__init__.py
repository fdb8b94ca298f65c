"""Everything that knows BIDS: which scans to read, and how results are named, described and written.

``inputs`` finds sessions and their scans, ``sites`` says which scanner each came from, ``validation`` asks
the BIDS validator; ``names``, ``provenance`` and ``citation`` describe what is written, and
``atomic`` writes it so that a half-written file never carries its final name. Nothing here knows tensors.
"""
