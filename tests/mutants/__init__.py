"""Mutation testing of engine/ledger and rules: how much of the core can be changed without a test that minds."""
