"""Certificates of promotion: how one is issued, and how it is verified from the log alone."""
