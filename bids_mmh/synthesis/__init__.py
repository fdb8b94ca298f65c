"""Right answers without paired people: one anatomy through two random acquisitions, made on the fly."""
