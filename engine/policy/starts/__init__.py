"""Which ready move starts where: order, slots, capacity, breakers."""
