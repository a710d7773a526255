"""Stories: a fleet, what people and failures do to it, and the expected result."""
