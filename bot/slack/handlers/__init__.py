"""Handling of inbox rows: read, check permissions, carry out, answer."""
