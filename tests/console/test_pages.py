"""The console over HTTP: what the pages say is what the file holds, and who may not ask is not answered."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyarrow import parquet

from engine.console.asking import statements
from projections.warehouse import Warehouse
from tests.console.conftest import QUERY_SECONDS, Shown
from tests.projections import given

PAGES = (
    "/",
    "/cohorts",
    "/rfm",
    "/rfm?segment=loyal",
    "/flows",
    "/flows?days=7",
    "/churn",
    "/churn?all=1&by=money",
    "/lift",
    "/money",
    "/play",
    "/lift?goal=visit&days=28&channels=1&point=0.8",
    "/loyalty",
    "/points",
    "/members",
    "/sql",
)
RUNAWAY = "select sum(a.range * b.range) from range(10000000) as a, range(1000000) as b"
REFUSED = (
    "drop view facts",
    "copy facts to 'stolen.csv'",
    "select 1; select 2",
    "from staging.facts",
    "from read_text('/etc/passwd')",
    "from '/etc/passwd'",
    "from duckdb_settings()",
    "select getenv('HOME')",
    "set threads = 1",
    "attach ':memory:' as other",
)


def text_of(html: str) -> str:
    """The words of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_answered_and_says_its_stamp(client: httpx.Client, path: str) -> None:
    """200, with the newest settled moment and the positions of the logs below."""
    answer = client.get(path)

    assert answer.status_code == 200, text_of(answer.text)
    assert "As of" in answer.text
    assert re.search(r"<dt>points-log</dt><dd>0:\d+", answer.text)


def test_the_overview_says_what_the_tables_say(client: httpx.Client, shown: Shown) -> None:
    """Members, balance, churn risk and sales are those of the file."""
    ((members, available, flagged, minor),) = shown.ask(
        "select (select count(*) from members where left_at is null), (select sum(available) from balances), "
        "(select count(*) from churn_flags where flagged), (select sum(total_minor) from purchases)"
    )

    words = text_of(client.get("/").text)

    assert f"Members {members:,} " in words
    assert f"Balance {available:,} " in words
    assert f"Churn risk {flagged:,} " in words
    assert f"Sales {int(str(minor)) // 100:,}.{int(str(minor)) % 100:02d} GBP" in words


def test_the_grid_holds_every_buyer_once(client: httpx.Client, shown: Shown) -> None:
    """The 25 cells sum to the members with a segment, and so does the picture of the flows."""
    ((buyers,),) = shown.ask("select count(*) from rfm_segments")

    cells = re.findall(r'<td class="h\d"><a href="/rfm[^>]*>([\d,]+)</a>', client.get("/rfm").text)
    moved = re.findall(
        r"<tr><td>[^<]*</td><td>[^<]*</td><td class=\"n\">([\d,]+)</td></tr>",
        client.get("/flows").text.split('id="tiers"')[0],
    )

    assert sum(int(cell.replace(",", "")) for cell in cells) == buyers
    assert sum(int(count.replace(",", "")) for count in moved) == buyers


def test_a_members_story_tells_every_fact_and_movement(client: httpx.Client, shown: Shown) -> None:
    """Each fact, decision, entry and tier of the member with most entries is there, and the balance ends at what he has."""
    ((member, entries),) = shown.ask(
        "select member_id, count(*) from points_entries group by 1 order by 2 desc, 1 limit 1"
    )
    ((facts, tiers, available),) = shown.ask(
        "select (select count(*) from facts where member_id = $key), (select count(*) from tier_history where member_id = $key), "
        "(select available + pending - debt from balances where member_id = $key)",
        key=member,
    )

    html = client.get(f"/members/{member}").text

    assert html.count('<li class="fact">') == facts
    assert html.count('<li class="tier">') == tiers
    assert html.count('<span class="points ') == entries
    assert f"balance then {available:,}" in html
    assert client.get("/members/nobody-at-all").status_code == 404


def test_a_storys_entries_are_those_of_all_keys_and_say_what_they_follow_from() -> None:
    """A card's points and the member's in one line of time; the cause is told also where it is somebody else's entry."""

    def earned(number: int, subject: str, caused_by: str | None = None) -> dict[str, Any]:
        entry = {"entry_id": f"e{number}", "points": number, "rule_id": f"rule-{number}", "caused_by": caused_by}
        head = {"type": "visit", "id": f"v{number}", "subject": subject, "time": f"2026-03-0{number}T10:00:00Z"}
        return {**head, "decision": {"entries": [entry]}}

    link = {"type": "link", "id": "l", "subject": "card", "time": "2026-03-06T10:00:00Z", "data": {"member": "anna"}}
    told = [earned(1, "bert"), earned(2, "card", "e1"), earned(3, "anna", "e2"), earned(4, "anna"), link]
    with given.warehouse(told) as warehouse:
        result = warehouse.connection.execute(statements("member")["who"], {"member": "card"})
        who = dict(zip([column[0] for column in result.description or ()], result.fetchone() or (), strict=True))
        keys = [who["member_id"], *who["keys"]]
        entries = warehouse.connection.execute(statements("member")["entries"], {"keys": keys, "rows": 9})
        names = [column[0] for column in entries.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in entries.fetchall()]

    told_of = ("entry_id", "fact_id", "caused_by_rule", "balance_after")
    assert [tuple(row[name] for name in told_of) for row in rows] == [
        ("e4", "v4", None, 9),
        ("e3", "v3", "rule-2", 5),
        ("e2", "v2", "rule-1", 2),
    ]


def test_a_member_is_found_by_the_beginning_of_the_key(client: httpx.Client, shown: Shown) -> None:
    """Looking up needs no whole key, and a hostile one is a text."""
    ((member,),) = shown.ask("select min(member_id) from members")

    assert f">{member}</a>" in client.get("/members", params={"q": str(member)[:3]}).text
    hostile = client.get("/members", params={"q": "<script>alert(1)</script>' or 1=1 --"})
    assert "<script>alert" not in hostile.text
    assert "Nobody&#39;s key" in hostile.text or "Nobody's key" in hostile.text


def test_nobody_sees_a_page_without_the_token(shown: Shown) -> None:
    """A browser is led to the login, a program refused; a wrong token opens nothing."""
    with httpx.Client(base_url=shown.url) as stranger:
        for path in (*PAGES, "/members/1", "/stamp"):
            assert stranger.get(path, headers={"accept": "text/html"}).status_code == 303
            assert stranger.get(path).status_code == 401
        assert stranger.post("/sql", data={"sql": "select 1"}).status_code == 401
        assert stranger.post("/login", data={"token": shown.token[:-1]}).status_code == 401
        assert stranger.get("/", headers={"cookie": "stammgast_console=x"}).status_code == 401
        assert stranger.get("/login").status_code == 200
        assert stranger.get("/static/../app.py").status_code in (401, 404)


def test_logging_out_ends_the_session(shown: Shown) -> None:
    """The cookie is worth nothing afterwards."""
    with shown.client() as somebody:
        cookie = "; ".join(f"{name}={value}" for name, value in somebody.cookies.items())
        assert somebody.get("/stamp").status_code == 200
        somebody.post("/logout")
        assert somebody.get("/stamp", headers={"accept": "*/*", "cookie": cookie}).status_code == 401


def test_another_host_or_page_is_refused(client: httpx.Client) -> None:
    """A name that somebody else resolves to this machine, and a form of another page, are refused with a session too."""
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/", headers={"host": "127.0.0.1:1"}).status_code == 421
    for origin in ("https://evil.example", "http://127.0.0.1:1", "null"):
        assert client.post("/sql", data={"sql": "select 1"}, headers={"origin": origin}).status_code == 403
    assert client.post("/sql", data={"sql": "select 1"}, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.request("DELETE", "/").status_code == 405


def test_the_browser_is_told_to_be_careful(shown: Shown) -> None:
    """No inline script or style, no frames, nothing kept; the cookie is for us alone."""
    with httpx.Client(base_url=shown.url) as browser:
        answer = browser.post("/login", data={"token": f" {shown.token}\n"})

    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert shown.token not in cookie
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_pages_hold_no_script_or_style_of_their_own(client: httpx.Client) -> None:
    """What the policy forbids is not there either, and nothing comes from elsewhere."""
    for path in PAGES:
        html = client.get(path).text
        assert not re.search(r"<script(?! src=\"/static/)|\sstyle=|\son\w+=", html), path
        assert set(re.findall(r"(?:src|href|action)=\"(https?:[^\"]*)", html)) == set(), path


@pytest.mark.parametrize("statement", REFUSED)
def test_only_a_select_over_the_tables_is_answered(client: httpx.Client, statement: str) -> None:
    """Everything else is refused, in words."""
    answer = client.post("/sql", data={"sql": statement})

    assert answer.status_code == 403, text_of(answer.text)
    assert "refused: " in answer.text


def test_a_mistake_is_told_as_duckdb_tells_it(client: httpx.Client) -> None:
    """A wrong column is no failure of the console."""
    answer = client.post("/sql", data={"sql": "select nothing_such from balances"})

    assert answer.status_code == 400
    assert "nothing_such" in answer.text


def test_an_answer_has_a_chart_and_says_when_there_is_more(client: httpx.Client) -> None:
    """Bars as many as values; a thousand rows are shown."""
    charted = client.post(
        "/sql", data={"sql": "select range as n, range * 2 as twice from range(5)", "chart": "bar"}
    ).text
    long = client.post("/sql", data={"sql": "from range(5000)"}).text

    assert charted.count('<rect class="bar s0" x=') == 5
    assert "5 rows" in charted
    assert "1,000 rows, and more" in long
    assert long.count("<tr><td") == 1_000


def test_saved_questions_are_asked_at_once(client: httpx.Client) -> None:
    """Those that come along all have an answer, and so has one of a folder of one's own."""
    names = re.findall(r'href="/sql\?question=([\w-]+)"', client.get("/sql").text)

    for name in names:
        answer = client.get("/sql", params={"question": name})
        assert answer.status_code == 200, (name, text_of(answer.text))
        assert 'id="answer"' in answer.text
    assert {"cohorts", "mine"} <= set(names)


def test_a_runaway_question_is_ended_and_the_next_one_answered(client: httpx.Client) -> None:
    """It costs its seconds, not the console."""
    began = time.monotonic()
    answer = client.post("/sql", data={"sql": RUNAWAY})

    assert answer.status_code == 504
    assert f"longer than {QUERY_SECONDS} seconds" in answer.text
    assert time.monotonic() - began >= QUERY_SECONDS
    assert client.post("/sql", data={"sql": "select 1"}).status_code == 200


@pytest.mark.parametrize(
    "hog",
    [
        "select repeat('a', 3000000000)",
        "select list_sum(range(300000000))",
        "select string_agg(range, ',') from range(300000000)",
    ],
)
def test_a_question_that_wants_all_memory_fails_alone(client: httpx.Client, hog: str) -> None:
    """It is told so, or ended; the next one is answered."""
    assert client.post("/sql", data={"sql": hog}).status_code in (400, 504)
    assert client.post("/sql", data={"sql": "select 1"}).status_code == 200


def test_csv_and_parquet_hold_every_row_and_the_stamp(client: httpx.Client) -> None:
    """All rows, not only those shown; a text that a spreadsheet would run is made harmless; the stamp comes along."""
    query = "select range as n, '=1+' || range as f, 1.50 as exact from range(2500)"
    as_csv = client.post("/sql/download", data={"sql": query, "format": "csv"})
    as_parquet = client.post("/sql/download", data={"sql": query, "format": "parquet"})

    rows = list(csv.reader(io.StringIO(as_csv.text)))
    assert rows[0] == ["n", "f", "exact"]
    assert rows[-1] == ["2499", "'=1+2499", "1.50"]
    table = parquet.read_table(io.BytesIO(as_parquet.content))
    assert table.num_rows == 2500
    assert table["f"][0].as_py() == "=1+0"
    stamp = json.loads(as_csv.headers["x-stammgast-stamp"])
    assert stamp == json.loads(table.schema.metadata[b"stammgast.stamp"])
    assert stamp["positions"]["facts"]["0"] > 0
    assert client.post("/sql/download", data={"sql": "from range(1000001)", "format": "csv"}).status_code == 400
    assert client.post("/sql/download", data={"sql": "drop view facts", "format": "csv"}).status_code == 400


def test_the_token_is_in_no_list_of_processes_and_no_log(client: httpx.Client, shown: Shown) -> None:
    """Neither the token nor what was asked can be seen by others of this machine; the owner's log says what was asked."""
    secret = "select 'a question nobody else reads'"
    client.post("/sql", data={"sql": secret})

    seen = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if readable(path)]
    log = shown.log.read_text(encoding="utf-8")
    assert not any(shown.token.encode() in one or b"nobody else reads" in one for one in seen)
    assert shown.token not in log
    assert "nobody else reads" in log
    assert (Path(f"{shown.db}.console-token").stat().st_mode & 0o777) == 0o600


def readable(path: Path) -> bool:
    """Is the process still there?"""
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_pages_follow_the_file_which_stays_free_for_its_writer(client: httpx.Client, shown: Shown) -> None:
    """A projector can open the file while the console shows it, and its rows come up by themselves."""
    note = {"type": "visit", "id": "new", "subject": "somebody-new", "time": "2010-12-22T10:00:00Z"}
    facts, decisions = given.records([note], partition=1)
    with Warehouse.open(shown.db) as warehouse:
        warehouse.apply(facts[1:], decisions[1:])

        deadline = time.monotonic() + 60
        while "1" not in client.get("/stamp").json()["stamp"]["positions"]["facts"]:
            assert time.monotonic() < deadline, shown.log.read_text(encoding="utf-8")
            time.sleep(0.1)
        assert '<li class="fact">' in client.get("/members/somebody-new").text


def test_loyalty_says_what_the_metrics_say(client: httpx.Client, shown: Shown) -> None:
    """The newest whole month, repeat purchases, sleepers and the money of places, as the tables have them."""
    text = text_of(client.get("/loyalty").text)
    ((rate, buyers),) = shown.ask("select rate, buyers from repeat_purchases where within_days is null")
    months = shown.ask("select month, members_end from retention order by month")
    ((sleepers,),) = shown.ask("select count(*) from sleepers")

    assert f"Bought again, ever {100 * float(str(rate)):.1f} %" in text
    assert f"of {int(str(buyers)):,} buyers" in text
    assert all(f"{int(str(count)):,}" in text for _, count in months)
    assert f"Sleepers {int(str(sleepers)):,} came regularly" in text


def test_points_says_what_the_metrics_say(client: httpx.Client, shown: Shown) -> None:
    """Issued, left and owed, as the tables have them."""
    text = text_of(client.get("/points").text)
    issued = shown.ask("select issued, points_left from breakage")
    owed = shown.ask("select points from liability_by_expiry")
    tiers = shown.ask("select tier, members from tier_distribution")

    assert issued
    assert owed
    assert tiers
    wanted = [f"{int(str(value)):,}" for row in (*issued, *owed) for value in row]
    wanted += [f"{tier} {int(str(count)):,}" for tier, count in tiers]
    assert [one for one in wanted if one not in text] == []


def test_money_says_how_to_begin_where_no_cost_was_told(client: httpx.Client, shown: Shown) -> None:
    """A new shop: no empty axes, but the command that brings costs in, and the words of the programme that are missing."""
    assert shown.ask("select count(*) from costs") == [(0,)]
    assert shown.ask("select coalesce(sum(points_spent), 0) from programme_costs") == [(0,)]
    page = client.get("/money").text
    costs = text_of(page.partition('<h2 id="costs">')[2].partition("</section>")[0])

    assert "<svg" not in page.partition('<h2 id="costs">')[2].partition("</section>")[0]
    assert "No cost was told and no point was spent yet" in costs
    assert "stammgast import costs.csv --preset costs" in costs
    assert "sets itself no goals: goals: in its file does" in text_of(page)
    assert "says no margin ( margin: in its file)" in text_of(page)
