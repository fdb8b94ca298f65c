"""What can be read from harmonized scans: features of a random network, the site, the age."""
