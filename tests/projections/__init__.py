"""Tests of the tables that analysts see."""
