"""Interpretation of observations: arrivals, causes of failures, networks."""
