"""Proves the promises of the logs on a running system: what they hold is what the facts and the programmes give, once.

Pure checks over records, one file per promise, and one reader of Kafka. Nothing here writes anywhere.
"""
