"""The engine: decides, moves, repairs, remembers. Knows nothing of Slack."""
