"""Which rows come when: the plan of all batches of all passes. Pure."""
