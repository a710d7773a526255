"""People: who they are, who approves, how they are mentioned."""
