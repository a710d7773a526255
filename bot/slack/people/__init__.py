"""Who is who, who approves, how people are mentioned."""
