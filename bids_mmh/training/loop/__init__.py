"""One training loop for both stages: steps, validation, weight averages, checkpoints and logs."""
