"""Sites of scans: where a dataset names them, and which one each scan is assigned."""
