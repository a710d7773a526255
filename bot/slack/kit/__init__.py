"""Small parts shared by all packages of the Slack side."""
