"""Rules about a whole run: its end, gaps, adoption, re-reading hosts."""
