"""Style of a volume: statistics and their records, the style code, contrast, and losses on style vectors."""
