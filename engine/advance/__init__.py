"""One step of the engine: look, plan, write, call; and the bell that rings for it."""
