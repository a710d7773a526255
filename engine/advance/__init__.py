"""One step of the engine: look, plan, call, write; and the bell that rings for it."""
