"""Words to values and values to words: text, vocabulary, grammar, names."""
