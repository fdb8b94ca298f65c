"""Slice encoders and what TPA-CLIP makes of their embeddings."""
