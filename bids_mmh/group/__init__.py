"""The group level: a study's derivatives in, a model, harmonized scans, tables and a page out.

``run`` tells the story: ``select`` the scans and their ``target_site``, ``fit`` a model when asked,
``harmonize`` all scans, ``evaluate`` and ``report`` on them.
"""
