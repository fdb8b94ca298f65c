"""Numbers that describe images and studies: what harmonization changed, and what it left alone.

- One image: ``statistics`` (intensities inside the brain mask), ``tissues`` (a segmentation) or
  ``synthseg``, whichever ``segmentation`` finds.
- Two versions of one image: ``anatomy`` (edges), ``overlap`` (tissues).
- Two scans of one subject: ``similarity``.
- A study: ``site_distance`` (histograms), ``features`` (of a random network), ``site_probe`` (a trained
  classifier), ``age`` (biology that must survive).
- Methods side by side: ``baselines`` and ``controls`` on the ``scans`` of travelling subjects, and the
  ``significance`` of their differences.
- The group level: ``cohort`` (whose scans are measured), ``person`` (all methods on one person's scans),
  ``summary`` (the methods over all people), ``outliers`` (whom to look at).
"""
