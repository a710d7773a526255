"""What observations mean: arrivals, causes of failures, networks."""
