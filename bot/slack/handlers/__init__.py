"""What a row of the inbox comes to: read, permitted, done, answered."""
