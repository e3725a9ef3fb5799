"""What crosses a boundary, and nothing else: envelopes, facts, decisions, money, time. No I/O."""
