"""Probes of harmonized scans: features of a random network, and site and age predicted from them."""
