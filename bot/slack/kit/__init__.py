"""Small parts that every room of the Slack side uses."""
