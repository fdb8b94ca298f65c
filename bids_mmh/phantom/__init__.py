"""A travelling-subject phantom: a small simulated multi-site T1w and T2w BIDS dataset.

``head`` turns the MNI152 tissue maps that nilearn ships into the heads of individual subjects; ``imaging``
holds relaxation times, signal equations, sites and their scanners; ``truth`` and ``dataset`` write images and
ground truth as BIDS. Everything follows from one seed, and nothing is downloaded.
"""
