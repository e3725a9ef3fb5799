"""The two shops of the demo: where their events come from, their programme, and what is special about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.demo import coffee_bar
from engine.demo.show import Question
from engine.imports.account import Account
from engine.imports.events import write_events
from engine.imports.online_retail import CURRENCY, convert

DATA = Path(__file__).with_name("data")
GIFT_SHOP_CSV = DATA / "online-retail-2010-12.csv.gz"
PROGRAMMES = Path(__file__).parents[2] / "rules" / "programmes"


@dataclass(frozen=True, slots=True)
class Shop:
    """One deployment of the demo.

    Attributes:
        name: also its consumer group and, with a dash, the prefix of its topics.
        about: one sentence: what data this is and where it comes from.
        programme: folder with the versions of its programme.
        prepare: writes its events to a path and returns how many there are and one line about them.
        change: the question that shows the change of rules.
        suffix: put before the suffix of the DuckDB file's name.
    """

    name: str
    title: str
    about: str
    programme: Path
    prepare: Callable[[Path], tuple[int, str]]
    change: Question
    suffix: str = ""

    @property
    def prefix(self) -> str:
        """Of its topics."""
        return f"{self.name}-"

    def file(self, db: Path) -> Path:
        """Its DuckDB file, when the demo was told ``db``."""
        return db.with_name(f"{db.stem}{self.suffix}{db.suffix}")


def _gift_shop_events(path: Path) -> tuple[int, str]:
    account = Account(CURRENCY)
    count = write_events(path, convert(GIFT_SHOP_CSV, account))
    left_out = sum(tally.lines for tally in account.left_out.values())
    even = "every line and penny accounted for" if account.balances else "THE ACCOUNT DOES NOT BALANCE"
    return count, f"{account.read.lines:,} till lines -> {count:,} events, {left_out:,} lines left out; {even}"


def _coffee_bar_events(path: Path) -> tuple[int, str]:
    count = write_events(path, coffee_bar.week())
    return count, f"{count:,} events, {coffee_bar.described()}"


GIFT_SHOP = Shop(
    name="gift-shop",
    title="The gift shop, December 2010",
    about="Real data: Chen, D. (2015), Online Retail, UCI Machine Learning Repository, CC BY 4.0; one month of it.",
    programme=PROGRAMMES / "gift-shop",
    prepare=_gift_shop_events,
    change=Question("gift_shop_change", "The rules changed on 15 December: two baskets of the same worth"),
)
COFFEE_BAR = Shop(
    name="coffee-bar",
    title="The coffee bar, 2 to 8 March 2026",
    about=f"Generated data, seed {coffee_bar.SEED}: nobody in it is real.",
    programme=PROGRAMMES / "coffee-bar",
    prepare=_coffee_bar_events,
    change=Question("coffee_bar_change", "The rules changed on Thursday: the same order, day by day"),
    suffix="-coffee-bar",
)
SHOPS = (GIFT_SHOP, COFFEE_BAR)
