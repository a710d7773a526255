"""The doors for people: terminal and Slack. They call no cmdlets."""
