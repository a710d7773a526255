"""Slack's Web API: calls, errors, response URLs."""
