"""Figures of the pages, each returned as an encoded image."""
