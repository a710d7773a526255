"""The doors for people: terminal and Slack. Independent of PowerShell."""
