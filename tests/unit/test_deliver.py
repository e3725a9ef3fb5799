"""`stammgast deliver` without Kafka: progress, lanes, webhooks, addresses, templates, configuration."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from engine.cli import main
from engine.deliver.addresses import BookAway, BookSettings, book_of
from engine.deliver.config import read_config
from engine.deliver.lane import Item, Lane, backoff_s, item_of
from engine.deliver.metrics import DeliverMetrics
from engine.deliver.network import ASKED_PAUSE_MOST_S, is_public, retry_after
from engine.deliver.progress import METADATA_MOST, Progress, decode, encode
from engine.deliver.sending import SENT, Answer, Channel, ConfigBroken
from engine.deliver.telling import outcome_event, word
from engine.deliver.templates import NoTemplate, TemplateFails, Templates
from engine.deliver.webhook import WebhookSender, WebhookSettings
from schemas.normalise import normalise
from schemas.notices import NoticeEvent, encode_event
from schemas.times import to_text, to_us
from tests.unit.deliver_world import OTHER_SECRET, PATIENCE_S, SECRET, notice, receiving

# ------------------------------------------------------------------------------------------------------------ progress


@given(st.integers(0, 2**40), st.sets(st.integers(1, 3_000), max_size=400))
def test_what_is_finished_comes_out_of_a_commit_as_it_went_in(base: int, gaps: set[int]) -> None:
    """Run lengths lose nothing that fits, and what does not fit is counted."""
    done = {base + gap for gap in gaps}
    text, told = encode(base, done)
    found = set(decode(base, text))
    assert len(text) <= METADATA_MOST
    assert found <= done
    assert len(found) == told
    assert told == len(done) or len(text) > METADATA_MOST - 16


@given(st.lists(st.integers(0, 60), unique=True, min_size=1), st.randoms(use_true_random=False), st.data())
def test_no_offset_is_worked_on_again_after_a_restart_and_none_is_lost(
    offsets: list[int], chance: Any, data: Any
) -> None:
    """Given records with holes between them, finished in any order and any of them, when a process goes on from the commit,
    then it works on exactly those that were not finished."""
    offsets.sort()
    book = Progress(offsets[0])
    assert [offset for offset in offsets if book.take(offset)] == offsets
    finished = chance.sample(offsets, data.draw(st.integers(0, len(offsets))))
    for offset in finished:
        book.finish(offset)
    base, metadata = book.commit
    again = Progress(base, metadata)
    assert {offset for offset in offsets if offset >= base and again.take(offset)} == set(offsets) - set(finished)
    assert all(offset in finished for offset in offsets if offset < base)


def test_a_commit_of_somebody_else_says_nothing() -> None:
    """Metadata of another program, or damaged."""
    for text in ("", "hello", "d1:%%%", "d1:AAA"):
        assert list(decode(7, text)) == []


def test_too_many_gaps_are_told_before_the_metadata_is_full() -> None:
    """Given every second notice waits, then the partition says so in time."""
    book = Progress(0)
    for offset in range(4_000):
        book.take(offset)
        if offset % 2:
            book.finish(offset)
        if book.full:
            break
    assert book.full
    assert book.commit[1]
    assert book.forgotten == 0


# ---------------------------------------------------------------------------------------------------------------- lane


class Told(Channel):
    """Settings of the sender below."""

    sender: str = "told"


class ToldSender:
    """Answers as it is told, in turn; the last answer stays."""

    Settings: ClassVar[type[Channel]] = Told

    def __init__(self, answers: list[Answer | Exception]) -> None:
        self.answers = answers
        self.at: list[tuple[str, float]] = []
        self.most = self.now = 0

    async def send(self, one: NoticeEvent, body: bytes) -> Answer:
        """Count, let others run, answer."""
        self.at.append((one["id"], time.monotonic()))
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        """Nothing is open."""


async def through(
    answers: list[Answer | Exception], items: list[Item], **said: Any
) -> tuple[list[tuple[str, str, str]], ToldSender]:
    """Send items through a lane until all are finished: (id, outcome, reason) each."""
    sender, done = ToldSender(answers), asyncio.Event()
    ends: list[tuple[str, str, str]] = []

    async def finished(item: Item, outcome: str, reason: str) -> None:
        ends.append((item.notice["id"], outcome, reason))
        if len(ends) == len(items):
            done.set()

    settings = Told.model_validate({"first_retry_seconds": 0.01, "longest_retry_seconds": 0.02} | said)
    lane = Lane("push", settings, sender, finished, DeliverMetrics(CollectorRegistry()))
    stop = asyncio.Event()
    running = asyncio.create_task(lane.run(stop))
    for item in items:
        lane.put(item)
    async with asyncio.timeout(PATIENCE_S):
        await done.wait()
    stop.set()
    await running
    assert await lane.drain(1) == 0
    return ends, sender


def item(number: int = 1, **data: Any) -> Item:
    """A notice that was just read."""
    one = notice(number, **data)
    return item_of(one, encode_event(one), ("incentives", 0, number), time.time())


async def test_what_fails_is_tried_again_until_it_is_there() -> None:
    """A sender that raises counts like one that asks for later."""
    ends, sender = await through([Answer("later", "status_503"), RuntimeError("x"), SENT], [item()])
    assert ends == [(item().notice["id"], "sent", "")]
    assert len(sender.at) == 3


async def test_what_fails_for_good_is_tried_once_and_what_fails_often_so_often() -> None:
    """`never` ends it, and so does the last attempt."""
    assert (await through([Answer("never", "status_404")], [item()]))[0][0][1:] == ("failed", "status_404")
    ends, sender = await through([Answer("later", "timeout")], [item()], attempts=4)
    assert ends[0][1:] == ("failed", "timeout")
    assert len(sender.at) == 4
    assert (await through([Answer("bounced", "smtp_550")], [item()]))[0][0][1:] == ("bounced", "smtp_550")


async def test_nothing_is_said_before_its_time_or_after_its_end() -> None:
    """One waits, one is over, one ends while it is being retried: only the first is sent."""
    now = time.time_ns() // 1_000
    later, gone, soon = (to_text(now + us) for us in (300_000, -1, 400_000))
    waits, over, ends_soon = item(1, not_before=later), item(2, expires_at=gone), item(3, expires_at=soon)
    ends, sender = await through([SENT], [waits, over])
    assert {(one[0], one[1]) for one in ends} == {(waits.notice["id"], "sent"), (over.notice["id"], "expired")}
    assert [one for one, _ in sender.at] == [waits.notice["id"]]
    assert time.time() >= to_us(later) / 1e6
    ends, sender = await through([Answer("later", "status_503")], [ends_soon], longest_retry_seconds=0.1)
    # On a machine that is busy it may end before the first attempt.
    assert ends[0][1:] in {("expired", "status_503"), ("expired", "")}
    assert time.time() >= to_us(soon) / 1e6


async def test_a_pause_that_the_other_side_asks_for_holds_for_the_whole_channel() -> None:
    """Retry-After of one notice: nothing is sent until then."""
    _, sender = await through([Answer("later", "status_429", 0.5), SENT], [item(1), item(2)], concurrency=1)
    assert len(sender.at) == 3
    assert sender.at[1][1] - sender.at[0][1] >= 0.49


async def test_rate_and_concurrency_are_kept() -> None:
    """Twelve notices at 50 a second take 11 gaps of 20 ms at least; never more than three are under way."""
    _, sender = await through([SENT], [item(n) for n in range(12)], rate_per_second=50, concurrency=3)
    assert sender.at[-1][1] - sender.at[0][1] >= 11 * 0.02 * 0.9
    _, sender = await through([SENT], [item(n) for n in range(12)], concurrency=3)
    assert sender.most == 3


def test_waits_double_up_to_the_longest_with_a_random_half() -> None:
    """Equal jitter."""
    channel = Told(first_retry_seconds=2, longest_retry_seconds=60)
    assert [backoff_s(channel, n, 1.0) for n in range(1, 8)] == [2, 4, 8, 16, 32, 60, 60]
    assert [backoff_s(channel, n, 0.0) for n in range(1, 4)] == [1, 2, 4]
    assert backoff_s(channel, 10_000, 1.0) == 60


# ------------------------------------------------------------------------------------------------------------- webhook


def webhook(folder: Path, url: str, **said: Any) -> WebhookSender:
    """A sender to an address, with one secret."""
    (folder / "one.whsec").write_text(SECRET + "\n")
    (folder / "two.whsec").write_text(OTHER_SECRET + "\n")
    settings = {
        "sender": "webhook",
        "url": url,
        "secret_files": ["one.whsec"],
        "allow_private": True,
        "allow_http": True,
        "timeout_seconds": PATIENCE_S,
    }
    return WebhookSender(WebhookSettings.model_validate(settings | said), folder)


async def tried(sender: WebhookSender, one: NoticeEvent | None = None) -> Answer:
    """One attempt."""
    one = one or notice()
    try:
        return await sender.send(one, encode_event(one))
    finally:
        await sender.close()


async def test_a_webhook_gets_the_event_signed_with_every_secret(tmp_path: Path) -> None:
    """While a secret is changed, both the old and the new one verify it; the id is the notice's."""
    with receiving() as receiver:
        assert await tried(webhook(tmp_path, receiver.url, secret_files=["two.whsec", "one.whsec"])) == SENT
    (got,) = receiver.got
    assert got.id == notice()["id"]
    assert got.body == encode_event(notice())
    assert got.headers["content-type"].startswith("application/cloudevents+json")
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 300
    assert got.signed_by(SECRET)
    assert got.signed_by(OTHER_SECRET)


async def test_a_secret_that_was_changed_in_its_file_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a restart; a file that is broken meanwhile leaves the old one in force."""
    monkeypatch.setattr("engine.deliver.files.LOOK_S", 0.0)
    with receiving() as receiver:
        sender = webhook(tmp_path, receiver.url)
        (tmp_path / "one.whsec").write_text("nothing of a secret")
        await sender.send(notice(), b"{}")
        (tmp_path / "one.whsec").write_text(OTHER_SECRET)
        await sender.send(notice(), b"{}")
        await sender.close()
    assert [one.signed_by(SECRET) for one in receiver.got] == [True, False]
    assert receiver.got[1].signed_by(OTHER_SECRET)


@pytest.mark.parametrize(
    ("status", "headers", "answer"),
    [
        (200, {}, SENT),
        (301, {"Location": "http://127.0.0.1:1/"}, Answer("never", "redirected")),
        (400, {}, Answer("never", "status_400")),
        (410, {}, Answer("never", "status_410")),
        (408, {}, Answer("later", "status_408")),
        (429, {"Retry-After": "7"}, Answer("later", "status_429", 7.0)),
        (503, {"Retry-After": "soon"}, Answer("later", "status_503")),
    ],
)
async def test_what_a_status_means(tmp_path: Path, status: int, headers: dict[str, str], answer: Answer) -> None:
    """No redirect is followed: one request, whatever is said."""
    with receiving(lambda _: (status, headers)) as receiver:
        assert await tried(webhook(tmp_path, receiver.url)) == answer
    assert len(receiver.got) == 1


async def test_a_receiver_that_hangs_or_is_not_there_is_tried_later(tmp_path: Path) -> None:
    """Within the timeout of the channel."""
    with receiving(lambda _: None) as receiver:
        assert await tried(webhook(tmp_path, receiver.url, timeout_seconds=0.3)) == Answer("later", "timeout")
        receiver.over.set()
    assert await tried(webhook(tmp_path, receiver.url)) == Answer("later", "no_connection")


async def test_a_private_address_is_refused_unless_allowed(tmp_path: Path) -> None:
    """By number and by name; nothing reaches the receiver."""
    with receiving() as receiver:
        for host in ("127.0.0.1", "localhost"):
            url = f"http://{host}:{receiver.port}/"
            assert await tried(webhook(tmp_path, url, allow_private=False)) == Answer("never", "private_address")
    assert receiver.got == []


async def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    """TLS is checked: what answers there is not who it says."""
    import ssl

    from tests.kafka.harness import make_client_certificate

    make_client_certificate(tmp_path / "c.pem", tmp_path / "k.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server:
        answer = await tried(webhook(tmp_path, f"https://127.0.0.1:{port}/"))
    assert answer == Answer("later", "tls_failed")


PRIVATE = (
    "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 ::1 fe80::1 fc00::1 "
    "::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: ff02::1 2001:0:1::1 fe80::1%eth0"
)


@pytest.mark.parametrize("address", PRIVATE.split())
def test_addresses_that_are_not_the_open_net(address: str) -> None:
    """Also where they are wrapped in an IPv6 address."""
    assert not is_public(address)


def test_addresses_of_the_open_net() -> None:
    """Plain ones, and one through NAT64."""
    assert all(is_public(one) for one in ("1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:8.8.8.8"))


def test_retry_after_as_seconds_and_as_a_date() -> None:
    """RFC 9110: both forms; nonsense is nothing, and nobody stops us for a year."""
    assert retry_after("120", 0) == 120
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40) == 60
    assert retry_after("Thu, 01 Jan 1970 00:00:10 GMT", 40) == 0
    assert retry_after("99999999999", 0) == ASKED_PAUSE_MOST_S
    assert [retry_after(said, 0) for said in ("", "soon", None, "-5")] == [None, None, None, None]


# ------------------------------------------------------------------------------------------------ addresses, templates


async def found(said: dict[str, Any], folder: Path, *members: str) -> list[str | None]:
    """What an address book says."""
    book = book_of(BookSettings.model_validate(said), folder, 4, PATIENCE_S)
    try:
        return [await book.address(member) for member in members]
    finally:
        await book.close()


async def test_address_books_of_every_kind(tmp_path: Path) -> None:
    """CSV, SQLite with the question that comes along and one of one's own."""
    (tmp_path / "book.csv").write_text("member,address,name\nanna,anna@example.org,Anna\nbert,,Bert\n")
    assert await found({"csv": "book.csv"}, tmp_path, "anna", "bert", "carl") == ["anna@example.org", None, None]
    with sqlite3.connect(tmp_path / "book.db") as database:
        database.executescript(
            "create table addresses (member text, address text); insert into addresses values ('anna', 'a@example.org');"
        )
    database.close()
    assert await found({"sqlite": "book.db"}, tmp_path, "anna", "bert") == ["a@example.org", None]
    own = {"sqlite": "book.db", "query": "select upper(address) from addresses where member = ?"}
    assert await found(own, tmp_path, "anna") == ["A@EXAMPLE.ORG"]
    for said in ({"csv": "no.csv"}, {"sqlite": "no.db"}, {"http": "http://10.0.0.1/{member}"}):
        with pytest.raises(ConfigBroken):
            book_of(BookSettings.model_validate(said), tmp_path, 4, 5.0)


async def test_an_address_book_over_http(tmp_path: Path) -> None:
    """A member's key is quoted, 404 is nobody, and trouble is told from nobody."""
    answers: dict[str, bytes] = {
        "/a/anna%2F1": b'HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{"address": "anna@example.org"}'[:-1] + b"}",
        "/a/bert": b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        "/a/carl": b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        "/a/dora": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    }
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        writer.write(answers[head.split(" ")[1]].replace(b"Content-Length: 30", b"Content-Length: 31"))
        await writer.drain()
        writer.close()

    (tmp_path / "token").write_text("t0ken\n")
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = {"http": f"http://127.0.0.1:{port}/a/{{member}}", "token_file": "token", "allow_http": True}
        with pytest.raises(BookAway, match="book_private_address"):
            await found(said, tmp_path, "anna/1")
        said["allow_private"] = True
        assert await found(said, tmp_path, "anna/1", "bert") == ["anna@example.org", None]
        with pytest.raises(BookAway, match="book_status_500"):
            await found(said, tmp_path, "carl")
        with pytest.raises(BookAway, match="book_not_understood"):
            await found(said, tmp_path, "dora")
    assert "authorization: bearer t0ken" in asked[0].lower()


def write(folder: Path, **files: str) -> Path:
    """Templates: `birthday__de` is birthday/de.txt, `birthday__de_html` its HTML."""
    for name, text in files.items():
        template, _, rest = name.partition("__")
        language, _, kind = rest.partition("_html")
        path = folder / template / f"{language}.{'html' if kind or rest.endswith('_html') else 'txt'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_letter_in_the_language_that_fits_best(tmp_path: Path) -> None:
    """de-AT, else de, else the default; the subject is one line whatever a value holds; HTML escapes values."""
    folder = write(
        tmp_path / "t",
        birthday__de="Subject: Noch {{ days }} Tage\n\nHallo, {{ points }} Punkte.\n",
        birthday__de_html="<p>{{ text }}</p>",
        birthday__en="Subject: {{ days }}\nx\n\nHello",
    )
    templates = Templates(folder, "en")
    letter = templates.letter(notice(language="de-AT", values={"days": 5, "points": 50, "text": "<b>"}))
    assert (letter.subject, letter.text, letter.html) == ("Noch 5 Tage", "Hallo, 50 Punkte.\n", "<p>&lt;b&gt;</p>")
    assert templates.letter(notice(language="fr", values={"days": 5})).text == "x\n\nHello\n"
    assert templates.letter(notice(language=None, values={"days": 5})).subject == "5"
    with pytest.raises(NoTemplate):
        templates.letter(notice(template="../birthday"))
    with pytest.raises(NoTemplate):
        templates.letter(notice(template="unknown"))
    with pytest.raises(TemplateFails):
        templates.letter(notice(values={}))


@pytest.mark.parametrize(
    "asked", ["''.__class__.__mro__", "notice.__init__.__globals__", "cycler.__init__.__globals__.os"]
)
def test_a_template_cannot_leave_its_sandbox(tmp_path: Path, asked: str) -> None:
    """What looks inside Python is refused."""
    folder = write(tmp_path / "t", birthday__de=f"Subject: x\n\n{{{{ {asked} }}}}\n")
    with pytest.raises(TemplateFails):
        Templates(folder, "de").letter(notice())


def test_templates_are_looked_through_when_it_starts(tmp_path: Path) -> None:
    """A mistake of writing, or no subject: told by file and line."""
    with pytest.raises(ConfigBroken, match=r"birthday/de\.txt, line 3"):
        Templates(write(tmp_path / "a", birthday__de="Subject: x\n\n{{ days"), "de")
    with pytest.raises(ConfigBroken, match="Subject:"):
        Templates(write(tmp_path / "b", birthday__de="Hello"), "de")


# ------------------------------------------------------------------------------------------------------- configuration


def config(folder: Path, text: str) -> Path:
    """A configuration file, with a secret beside it."""
    (folder / "one.whsec").write_text(SECRET)
    path = folder / "deliver.yaml"
    path.write_text(text)
    return path


PUSH = "channels: {push: {sender: webhook, url: 'https://p.example/n', secret_files: [one.whsec]}}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("channels: [", "not YAML"),
        ("channels: {}", "no channel is named"),
        ("chanels: {}", "did you mean `channels`"),
        (PUSH.replace("webhook", "webhok"), "did you mean `webhook`"),
        (PUSH.replace("url:", "urls: x, url:"), "did you mean `url`"),
        (PUSH.replace("https", "http"), "allow_http"),
        (PUSH.replace("p.example", "u:p@p.example"), "no user and password"),
        (PUSH.replace("one.whsec", "two.whsec"), "No such file"),
        (PUSH.replace("sender: webhook, ", ""), "`sender` is missing"),
        (PUSH.replace("sender: webhook", "sender: 'no_such_module:X'"), "cannot be loaded"),
        (
            "channels: {mail: {sender: smtp, host: h, from: nobody, templates: t, addresses: {csv: b}}}",
            "from: write it like",
        ),
        ("channels: {mail: {sender: smtp, host: h, from: a@b.example, templates: t, addresses: {}}}", "one of `csv`"),
    ],
)
def test_mistakes_of_the_configuration_are_told_with_how_to_mend_them(tmp_path: Path, text: str, said: str) -> None:
    """Exit code 2, one sentence."""
    answer = CliRunner().invoke(main, ["deliver", "check", "--config", str(config(tmp_path, text))])
    assert answer.exit_code == 2
    assert said in answer.output
    assert SECRET not in answer.output


def test_a_good_configuration_is_told(tmp_path: Path) -> None:
    """In words and as JSON."""
    path = str(config(tmp_path, PUSH))
    assert (
        CliRunner().invoke(main, ["deliver", "check", "--config", path]).output.startswith("push: webhook, 8 at once")
    )
    assert orjson.loads(CliRunner().invoke(main, ["deliver", "check", "--config", path, "--json"]).output)["push"]


PAGE = Path(__file__).parents[2] / "docs" / "deliver.md"


async def test_a_sender_of_ones_own_is_one_small_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of docs/deliver.md, named by module and class in the configuration."""
    (own,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "file_sender.py").write_text(own)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = config(tmp_path, "channels: {file: {sender: 'file_sender:FileSender', path: out.jsonl}}")
    found = read_config(path)
    assert await found.senders["file"].send(notice(), encode_event(notice())) == SENT
    assert (tmp_path / "out.jsonl").read_bytes() == encode_event(notice()) + b"\n"
    sys.modules.pop("file_sender", None)


# ------------------------------------------------------------------------------------------------------------ outcomes


def test_an_outcome_is_an_event_that_intake_takes() -> None:
    """With a reason in a form that facts take; told again at another moment it is another event, at the same one the same."""
    moment = to_us("2026-03-05T08:00:00Z")
    make: Callable[[int], bytes] = lambda at: outcome_event("0" * 32, "anna", "push", "failed", "Status 404!", at)  # noqa: E731
    fact = normalise(make(moment), "2026-03-05T08:00:01.000000Z", moment + 1_000_000)
    assert fact.data == {"notice": "0" * 32, "outcome": "failed", "channel": "push", "reason": "status_404_"}
    assert make(moment) == make(moment)
    assert make(moment) != make(moment + 1)
    assert [word(said) for said in ("", "__", "smtp_550")] == [None, None, "smtp_550"]
