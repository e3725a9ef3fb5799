"""What if another programme had been in force: the recorded facts decided twice, side by side, before anything goes live."""
