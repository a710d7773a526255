"""The app's manifest, and the checks before the start."""
