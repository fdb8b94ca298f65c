"""The steps of the preprocessing, one a file: pure functions on images."""
