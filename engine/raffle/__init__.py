"""Raffles: the draw that anybody can repeat."""
