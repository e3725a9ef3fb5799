"""Tiers of the naive model: what a window carries, what holds on a day, when it is lower. Every answer looks at every day."""

from __future__ import annotations

from datetime import date

from tests.properties.plans import DAY, Ladder, add_months

Days = dict[date, int]


class Climber:
    """The progress of one member by local day, and the day on which his account began."""

    def __init__(self, ladder: Ladder, days: Days, began: date) -> None:
        """Hold what the questions are about."""
        self.ladder, self.days, self.began = ladder, days, began
        self.given: tuple[int, date] | None = None  # a height that staff gave, and the last day of it

    def year(self, day: date) -> int:
        """Return the number of the year of a day; a membership year begins on the day of joining."""
        if self.ladder.over == "calendar_year":
            return day.year
        number = day.year - self.began.year
        return number if day >= add_months(self.began, 12 * number) else number - 1

    def year_ends(self, number: int) -> date:
        """Return the last day of a year."""
        if self.ladder.over == "calendar_year":
            return date(number, 12, 31)
        return add_months(self.began, 12 * (number + 1)) - DAY

    def height(self, amount: int) -> int:
        """Return the height of the highest step that an amount reaches."""
        return self.ladder.height(self.ladder.level(amount).id)

    def carried(self, day: date) -> int:
        """Return the height that the windows of a day carry."""
        if self.ladder.over == "lifetime":
            return self.height(sum(self.days.values()))
        if isinstance(self.ladder.over, int):
            months = self.ladder.over
            return self.height(sum(n for d, n in self.days.items() if d <= day <= add_months(d, months)))
        this = sum(n for d, n in self.days.items() if self.year(d) == self.year(day))
        last = sum(n for d, n in self.days.items() if self.year(d) == self.year(day) - 1)
        return max(self.height(this), self.height(last))

    def ends(self) -> list[date]:
        """Return the days on which some window is whole for the last time."""
        if self.ladder.over == "lifetime":
            return []
        if isinstance(self.ladder.over, int):
            return [add_months(day, self.ladder.over) for day in self.days]
        return [self.year_ends(self.year(day) + more) for day in self.days for more in (0, 1)]

    def later(self, end: date, periods: int) -> date:
        """Return the last day of what held until ``end``, so many periods later, with the grace."""
        if isinstance(self.ladder.over, int):
            end = add_months(end, periods * self.ladder.over)
        else:
            end = self.year_ends(self.year(end) + periods)
        return add_months(end, self.ladder.grace)

    def best(self) -> int:
        """Return the greatest height that was ever carried."""
        return max((self.carried(day) for day in [*self.days, *self.ends(), self.began]), default=0)

    def ever(self) -> int:
        """Return the height that time never takes."""
        best = self.best()
        kept = [h for h, step in enumerate(self.ladder.steps) if step.keep or self.ladder.falls == "none"]
        return max((height for height in kept if height <= best), default=0)

    def held(self, today: date) -> int:
        """Return the height that is held on a day, earned or given."""
        given = self.given[0] if self.given is not None and today <= self.given[1] else 0
        return max(given, self.earned(today))

    def earned(self, today: date) -> int:
        """Return the height that is earned on a day."""
        found = [self.carried(today), self.ever()]
        for end in self.ends():
            if end >= today:
                continue  # what is carried then is not yet lost; if it counts today, today's window says so
            height = self.carried(end)
            periods = 0
            while height > 0 and self.later(end, periods) < today:
                periods += 1
                height = height - 1 if self.ladder.falls == "one_level" else 0
            found.append(height)
        return max(found)

    def lowered(self, today: date) -> date | None:
        """Return the first coming day on which less is held if nothing happens."""
        most = len(self.ladder.steps)
        coming = {self.later(end, periods) + DAY for end in self.ends() for periods in range(most)}
        coming |= {self.given[1] + DAY} if self.given is not None else set()
        now = self.held(today)
        return next((day for day in sorted(coming) if day > today and self.held(day) < now), None)
