"""A simulated fleet that misreports the way VMM does, behind the port. The default world."""
