"""Intents of people as rows: requests, verbs, reviews, previews."""
