"""The participant level: raw BIDS in, derivatives and a page per session out.

``run`` tells the story: ``setup`` finds the scans, ``workflow`` builds the graph of a session, whose nodes
``harmonize`` its scans, write their ``outputs`` and the ``report``; ``outcome`` says what failed.
"""
