"""Training of the project's own slice encoder."""
