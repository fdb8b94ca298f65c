"""Right answers without paired subjects: one anatomy through two random acquisitions, made on the fly."""
