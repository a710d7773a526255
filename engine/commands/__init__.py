"""What people want, as rows: requests, verbs, reviews, previews."""
