"""Forms that open behind buttons."""
