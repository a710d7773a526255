"""One step of the engine (observe, plan, write, call), and the loop and timer that run it."""
