"""Raw scans of one session to bias-corrected, brain-extracted images in MNI space and back.

Each module of ``steps`` holds one step as pure functions on SimpleITK images: loading and checking, neck
crop, brain mask, bias field, registration, resampling, quality figures. ``interfaces`` wraps the steps for
Nipype and ``workflow`` joins them into one graph per session; ``single_scan`` takes one scan through them
without a graph. ``grid`` and ``template`` define the common space, ``scaling`` the invertible intensity
range of the model; ``external`` takes what other programs made of a scan.
"""
