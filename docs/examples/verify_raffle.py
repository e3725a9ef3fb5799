"""Check the draw of a raffle with nothing but Python: python verify_raffle.py summer.draw.json summer.tickets.csv COMMITMENT

COMMITMENT is what the shop published before the first ticket was given. It prints the winning tickets, or says what is wrong.
"""

import hashlib
import hmac
import json
import sys
from pathlib import Path


def must(right: bool, wrong: str) -> None:
    """Stop and say what is wrong."""
    if not right:
        sys.exit(f"not right: {wrong}")


draw = json.loads(Path(sys.argv[1]).read_bytes())
text = Path(sys.argv[2]).read_bytes().decode()
must(draw["draw"] == "stammgast raffle 1", "another way to draw")
must(hashlib.sha256(draw["secret"].encode()).hexdigest() == sys.argv[3], "the secret is not the one that was promised")
digest = hashlib.sha256(text.encode()).hexdigest()
must(digest == draw["digest"], "this is not the list of tickets that was drawn from")
tickets = [line.split(",") for line in text.splitlines()[1:]]
must(tickets == sorted(tickets), "the tickets are not in their order")

winning: list[str] = []
won: dict[str, int] = {}
while tickets and len(winning) < draw["winners"]:
    attempt = 0
    while True:
        parts = [draw["draw"], draw["raffle"], digest, draw["public"], str(len(winning) + 1), str(attempt)]
        drawn = hmac.new(draw["secret"].encode(), "\n".join(parts).encode(), hashlib.sha256).digest()
        number = int.from_bytes(drawn, "big")
        if number < 2**256 - 2**256 % len(tickets):
            break
        attempt += 1
    ticket, holder = tickets.pop(number % len(tickets))
    winning.append(ticket)
    won[holder] = won.get(holder, 0) + 1
    if won[holder] >= draw["wins_per_member"]:
        tickets = [other for other in tickets if other[1] != holder]

must(winning == draw["winning"], f"the winners are {winning}")
print("right:", *winning)
