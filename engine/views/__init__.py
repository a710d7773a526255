"""What a run looks like, as values, for every door."""
