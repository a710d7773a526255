"""People: approvers, and Slack's answers about people, groups and channels."""
