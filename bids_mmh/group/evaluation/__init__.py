"""Evaluation of a study at the group level: who is measured, subject by subject, table and page."""
