"""Forms that buttons open."""
