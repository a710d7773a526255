"""A simulated fleet that lies the way VMM lies; the embedded default behind the port."""
