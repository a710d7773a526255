"""What is to be sent, and the one sender that sends it."""
