"""The terminal: a live board, questions with y/n, the told night of the demo."""
