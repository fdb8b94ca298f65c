"""Numbers that describe images and studies: what harmonization changed, and what it left alone.

- ``metrics``: of one image (``statistics`` of its intensities), of two versions of it (``anatomy``,
  ``overlap`` of tissues), of two scans of one subject (``similarity``), of sites (``site_distance``,
  ``site_ranking``).
- ``probes``: ``features`` of a random network, ``site_probe`` (a trained classifier), ``age`` (biology that
  must survive), ``volumes`` (both in regional volumes).
- ``controls``: ``baselines`` and ``landmarks``, and ``methods``, which says what each learns and from whom;
  ``combat`` corrects the ``regional_volumes`` of the raw scans.
- Segmentations: ``tissues`` or ``synthseg``, whichever ``segmentation`` finds.
- A study: ``cohort`` (whose ``scans`` are measured), ``subject_metrics`` (all methods on the scans of one
  subject), ``study`` (the methods over all subjects), ``significance``, ``outliers`` (whom to look at).
"""
