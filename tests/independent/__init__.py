"""A second opinion on points, in plain Python from the till's CSV: it imports nothing of the product.

It was written from the meaning of the rules, not from the engine's code; where both agree on real data, both had to be
wrong in the same way to be wrong at all.
"""
