"""Who the members of the invented chain are: how often they buy, from when, and until when. It is the truth that is written down.

Purchases are a Poisson process with a rate of one's own, the rates spread as a gamma distribution, and everybody stops for good
after an exponential time: the Pareto/NBD story of Schmittlein, Morrison and Colombo (1987), so that models of churn can be held
against it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from schemas.times import DAY_US

WEEK_US = 7 * DAY_US
#: Purchases a week: shape and mean of the rates. Most come seldom, a few come daily.
RATE_SHAPE, RATE_MEAN = 0.9, 0.7
#: Mean time after which a member stops for good, in days.
LIFE_DAYS = 240.0
#: Share of the members who are there from the first day; the others join in the course of it.
FOUNDERS = 0.6
BOTS = 0.004
#: A bot looks at so many products a day.
BOT_VIEWS_A_DAY = 60.0


@dataclass(slots=True)
class Person:
    """One member and his truth.

    Attributes:
        kind: person or bot.
        weekly: purchases a week while he comes, before season and weekday.
        begins_us, ends_us: the first and last moment at which he comes; ends_us may lie behind the simulated time.
        home: number of the store that he goes to mostly.
        purchases, spent_minor, refunded_minor, refunds: what was made of it, sales without his card left out until claimed.
    """

    key: str
    kind: str
    weekly: float
    begins_us: int
    ends_us: int
    home: int
    purchases: int = 0
    spent_minor: int = 0
    refunded_minor: int = 0
    refunds: int = 0
    last_us: int | None = None


def people(chance: random.Random, count: int, stores: int, from_us: int, until_us: int) -> list[Person]:
    """Draw so many members."""
    drawn = []
    for number in range(count):
        begins_us = from_us if chance.random() < FOUNDERS else chance.randrange(from_us, until_us)
        life_us = round(chance.expovariate(1 / LIFE_DAYS) * DAY_US)
        bot = chance.random() < BOTS
        weekly = RATE_MEAN * chance.gammavariate(RATE_SHAPE, 1 / RATE_SHAPE)
        home = min(int(chance.expovariate(3.0 / stores)), stores - 1)
        kind = "bot" if bot else "person"
        drawn.append(Person(f"m{number:07d}", kind, 0.0 if bot else weekly, begins_us, begins_us + life_us, home))
    return drawn
