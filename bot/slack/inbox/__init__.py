"""Acceptance of commands, clicks, mentions and forms: parse, one insert, ack."""
