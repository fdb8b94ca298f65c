"""Stage I, the global harmonizer: its objective and its task for the training loop."""
