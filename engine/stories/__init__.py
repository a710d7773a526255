"""Stories: a fleet, what people and misfortune do to it, and what comes of it."""
