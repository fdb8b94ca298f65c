"""The scanners of the phantom: relaxation of tissues, signal equations, protocols, and the pictures taken."""
