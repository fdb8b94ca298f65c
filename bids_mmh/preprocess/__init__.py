"""Raw scans of one session to bias-corrected, brain-extracted images in MNI space and back.

Each module holds one step as pure functions on SimpleITK images: loading and checking, neck crop, brain
mask, bias field, registration, resampling, quality figures.  ``interfaces`` wraps the steps for Nipype and
``workflow`` joins them into one graph per session.  ``grid`` and ``template`` define the common space,
``scaling`` the invertible intensity range of the model.
"""
