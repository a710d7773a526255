"""Queued messages, and the sender that sends them."""
