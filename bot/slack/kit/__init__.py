"""Small parts shared by all rooms of the Slack side."""
