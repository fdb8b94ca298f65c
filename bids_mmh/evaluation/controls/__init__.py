"""The controls of every evaluation: classical normalizations, and what they learn from which scans."""
