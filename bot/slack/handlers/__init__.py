"""Handling of inbox rows: read, permitted, done, answered."""
