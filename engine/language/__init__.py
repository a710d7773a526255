"""The language of requests and of sentences: text, vocabulary, grammar, names."""
