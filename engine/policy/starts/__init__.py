"""Starts of ready moves: order, slots, capacity, breakers."""
