"""The demo: one night of migrations as a conversation."""
