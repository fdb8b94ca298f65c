"""Programs for brain extraction and registration: the built-in ones, SynthStrip and FreeSurfer."""
