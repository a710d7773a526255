"""One ladder of early returns for each state of a move that has not ended."""
