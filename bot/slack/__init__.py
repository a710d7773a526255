"""Slack: accept durably, decide by buttons, tell in threads."""
