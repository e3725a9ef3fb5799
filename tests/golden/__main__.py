"""Write the facts of golden events that have none yet."""

from tests.golden.test_golden import EVENTS, fact_bytes

for event in EVENTS:
    fact = event.with_suffix(".fact.json")
    if not fact.exists():
        fact.write_bytes(fact_bytes(event))
        print(fact)
