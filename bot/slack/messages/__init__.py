"""Messages in channels: boards, cards, failures, reports, rendered from rows."""
