"""Numbers that describe images and studies: what harmonization changed, and what it left alone.

``statistics`` describes one image (intensities inside the brain mask) and how much structure two versions
of it share; ``site_distance`` compares the intensity histograms of scans within and between sites.
"""
