"""What the program writes and reads back: jobs, scans, the index of a study, splits, models, fits."""
