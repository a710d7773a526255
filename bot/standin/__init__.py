"""An in-process stand-in for Slack, for the demo and the tests."""
