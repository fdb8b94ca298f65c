"""A small network that finds the brain in a scan of any contrast."""
