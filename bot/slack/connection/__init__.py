"""How Slack reaches us: two sockets or HTTP, in front of one Bolt app."""
