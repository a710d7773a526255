"""Intents of people as rows: requests, verbs, previews."""
