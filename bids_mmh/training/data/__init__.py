"""Training volumes: which scans there are, whose are trained on, how they are kept, augmented and ordered."""
