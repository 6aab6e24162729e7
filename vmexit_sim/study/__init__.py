"""Studies: running scenarios, and comparing policies."""
