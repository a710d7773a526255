"""Durable rows: the truth of VMFerry, and the fence around it."""
