"""Preprocessing: raw scans of one session to bias-corrected, brain-extracted images in MNI space, and back.

Each module of ``steps`` holds one step as pure functions on SimpleITK images: loading and validation, neck
crop, brain extraction, bias field correction, registration, resampling, quality metrics. ``interfaces`` wraps
the steps for Nipype and ``workflow`` joins them into one graph per session; ``pipeline`` says in which order
and with which options they run on a scan. ``grid`` and ``template`` define the common space, ``scaling`` the
invertible intensity scaling of the model; ``external`` reads precomputed files of other programs.
"""
