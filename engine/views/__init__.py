"""Views of a run, as values, for the terminal and Slack."""
