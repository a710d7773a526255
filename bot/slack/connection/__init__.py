"""Connections from Slack to us: two sockets or HTTP, in front of one Bolt app."""
