"""A travelling-subject phantom: a small multi-site T1w + T2w BIDS dataset made on the spot.

`head` turns the MNI152 tissue maps inside nilearn into individual heads; `imaging` gives every tissue its
signal, draws the sites and takes the pictures; `truth` and `dataset` write them as BIDS. Everything follows
from one seed, nothing is downloaded.
"""
