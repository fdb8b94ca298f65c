"""Stage II, fine-tuning to a target site: its task, its pairs and what is computed once for it."""
