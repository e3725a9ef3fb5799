"""The pure core: what a fact does to one member. No clock, no randomness, no I/O, no logging."""
