"""Nipype's plugins: which one carries out the steps of a run, and the program's own on top of Nipype's."""
