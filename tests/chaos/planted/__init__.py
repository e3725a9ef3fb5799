"""Bugs to plant into a worker, one module each with a `plant()`: chaos must find them (tests/chaos/test_planted.py)."""
