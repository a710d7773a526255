"""Rules about a whole run: its end, gaps, adoption, refreshes of hosts."""
