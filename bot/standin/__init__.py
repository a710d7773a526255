"""A Slack in process, for the demo and the tests."""
