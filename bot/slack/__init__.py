"""The Slack side: store what people do, take decisions by buttons, report in threads."""
