"""The doors for people: terminal and Slack. Never names a cmdlet."""
