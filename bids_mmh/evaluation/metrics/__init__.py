"""Metrics of images and of sites: intensities, anatomy, tissue overlap, similarity, site distances."""
