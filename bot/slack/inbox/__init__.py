"""Acceptance of what people did: parse, one insert, ack."""
