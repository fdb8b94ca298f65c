"""The steps of the preprocessing, one per module: pure functions on images."""
