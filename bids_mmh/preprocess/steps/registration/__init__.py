"""Registration: rigid between the scans of a session, nine degrees of freedom to the template."""
