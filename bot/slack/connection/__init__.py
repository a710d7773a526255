"""Connections from Slack to the Bolt app: two sockets, or HTTP."""
