"""Stories: what the engine does, told so that a shop owner can read it, and run as tests. See README.md."""
