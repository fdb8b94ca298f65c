"""The scanners of the phantom: relaxation times, signal equations, protocols, and image acquisition."""
