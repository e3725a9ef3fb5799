"""Named readers: one address, a process of their own each, time and memory that end, and a line for every question."""
