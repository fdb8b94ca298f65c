"""A travelling-subject phantom: a small multi-site T1w + T2w BIDS dataset made on the spot.

`anatomy` and `deformation` turn the MNI152 tissue maps inside nilearn into individual heads,
`relaxation` and `signals` give every tissue its signal, `acquisition` draws the sites, `scanner` takes the
pictures, `truth` and `dataset` write them as BIDS. Everything follows from one seed, nothing is downloaded.
"""
