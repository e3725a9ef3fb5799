"""Personal data at rest: how profiles are sealed and opened, and where the keys are that can be destroyed."""
