"""Messages to send, and the one sender that sends them."""
