"""The demo: one night told as a conversation."""
