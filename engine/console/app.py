"""The console's web application: routes, and what they have in common."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from engine.console import box, pages, plots, words
from engine.console.asking import CHARTS, HERE, Asker, Saved
from engine.console.guard import Guard, Sessions
from engine.settings import No
from projections import sql
from projections.desks import Desks, Refused, Rows, TooLong

log = structlog.get_logger(__name__)

FORM_BYTES = 100_000
# A wrong token costs whoever tries it this much; the token has 256 bits, so this is for the log's sake.
WRONG_TOKEN_S = 0.5
NAVIGATION = (
    ("/", "Overview"),
    ("/cohorts", "Cohorts"),
    ("/rfm", "RFM"),
    ("/flows", "Flows"),
    ("/churn", "Churn"),
    ("/lift", "Lift"),
    ("/loyalty", "Loyalty"),
    ("/points", "Points"),
    ("/play", "Play"),
    ("/money", "Money"),
    ("/members", "Members"),
    ("/sql", "SQL"),
)

Page = Callable[[Asker, QueryParams], Awaitable[pages.Context]]


@dataclass(frozen=True, slots=True)
class Options:
    """What a console is started with.

    Attributes:
        token: whoever has it may log in.
        port: where it listens.
        hosts: names that browsers call it by; Host and Origin are held to them.
        secure: is every way to it encrypted?
        seconds: how long a question may take.
        refresh_s: how often it looks whether the file has changed.
        name: what it calls the file.
        questions: the saved questions.
    """

    token: str
    port: int
    hosts: set[str]
    secure: bool
    seconds: float
    refresh_s: float
    name: str
    questions: dict[str, Saved]


class Console:
    """The handlers; they share the desks, the templates and the sessions."""

    def __init__(self, desks: Desks, options: Options) -> None:
        self.desks = desks
        self.options = options
        self.ask = Asker(desks, options.seconds)
        self.sessions = Sessions(options.token, options.port, secure=options.secure)
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            number=words.number,
            percent=words.percent,
            two=words.two,
            cell=words.cell,
            heat=words.heat,
            type_name=words.type_name,
            short=plots.short,
        )

    def page(self, path: str, template: str, title: str, fill: Page) -> Route:
        """A route whose page is one template, filled by one function."""

        async def handler(request: Request) -> Response:
            return await self._show(request, template, title, lambda: fill(self.ask, request.query_params))

        return Route(path, handler, name=template)

    async def member(self, request: Request) -> Response:
        """One member's story."""
        key = request.path_params["key"]

        async def fill() -> pages.Context | None:
            return await pages.member(self.ask, request.query_params, key)

        return await self._show(request, "member", f"Member {key}", fill)

    async def _show(
        self, request: Request, template: str, title: str, fill: Callable[[], Awaitable[pages.Context | None]]
    ) -> Response:
        try:
            context = await fill()
        except No as error:
            status = 504 if isinstance(error, TooLong) else 500
            log.warning("a page was not answered", page=request.url.path, why=error.message)
            return self.render(request, "trouble", title, {"why": error.message}, status)
        if context is None:
            return self.render(request, "trouble", title, {"why": "Nobody is known by this key."}, 404)
        return self.render(request, template, title, context)

    def render(
        self, request: Request, template: str, title: str, context: pages.Context, status: int = 200
    ) -> Response:
        """A page with what every page has: navigation, freshness, stamp."""
        copy = self.desks.copy
        written = words.Words(copy.stamp.currency, copy.stamp.time_zone)
        self._templates.filters.update(money=written.money, moment=written.moment, day=written.day)
        html = self._templates.get_template(f"{template}.html").render(
            title=title,
            navigation=NAVIGATION,
            path=request.url.path,
            name=self.options.name,
            stamp=copy.stamp,
            settled=datetime.fromisoformat(copy.stamp.settled_at) if copy.stamp.settled_at else None,
            zone=copy.stamp.time_zone or "UTC",
            age=max(0, round(time.time() - self.desks.looked_at)),
            trouble=self.desks.trouble,
            **context,
        )
        return HTMLResponse(html, status)

    async def login(self, request: Request) -> Response:
        """Ask for the token; with the right one, begin a session."""
        wrong = False
        if request.method == "POST":
            session = self.sessions.open((await _form(request)).get("token", ""))
            if session is not None:
                response = RedirectResponse("/", 303)
                self.sessions.remember(response, session)
                return response
            log.warning("a wrong token was shown at the login")
            await asyncio.sleep(WRONG_TOKEN_S)
            wrong = True
        html = self._templates.get_template("login.html").render(title="Log in", name=self.options.name, wrong=wrong)
        return HTMLResponse(html, 401 if wrong else 200)

    async def logout(self, request: Request) -> Response:
        """End the session."""
        self.sessions.close(request.headers)
        response = RedirectResponse("/login", 303)
        self.sessions.forget(response)
        return response

    async def stamp(self, request: Request) -> Response:
        """What the answers come from, for programs: positions, programmes, metrics, and how old the copy is."""
        copy = self.desks.copy
        age = round(time.time() - self.desks.looked_at, 1)
        return JSONResponse({"stamp": asdict(copy.stamp), "in_step_seconds_ago": age, "trouble": self.desks.trouble})

    async def sql(self, request: Request) -> Response:
        """The SQL box; a saved question is asked at once."""
        saved = self.options.questions.get(request.query_params.get("question", ""))
        text, chart = (saved.text, saved.chart) if saved else ("", "none")
        if request.method == "POST":
            form = await _form(request)
            text, chart = form.get("sql", "").strip(), form.get("chart", "none")
        return await self._box(request, text, chart if chart in CHARTS else "none")

    async def _box(self, request: Request, text: str, chart: str) -> Response:
        context: pages.Context = {
            "text": text, "chart_kind": chart, "charts": CHARTS, "saved": self.options.questions.values(), "rows": None,
            "why": "", "chart": None, "tables": _tables(), "seconds": self.options.seconds, "shown": box.SHOWN_ROWS,
        }  # fmt: skip
        status = 200
        if text:
            try:
                rows = await self._asked(text, box.SHOWN_ROWS)
                context |= {"rows": rows, "chart": box.chart(rows, chart), "numeric": box.numeric(rows)}
            except No as error:
                context["why"] = error.message
                status = 403 if isinstance(error, Refused) else 504 if isinstance(error, TooLong) else 400
        return self.render(request, "sql", "SQL", context, status)

    async def _asked(self, text: str, count: int, size: int = 64 << 20) -> Rows:
        """Ask, and leave a line about it in the log, whatever comes of it."""
        began, outcome, found = time.monotonic(), "answered", 0
        try:
            rows = await self.ask.reader(text, rows=count, size=size)
            found = rows.table.num_rows
        except No as error:
            outcome = type(error).__name__.lower()
            raise
        else:
            return rows
        finally:
            seconds = round(time.monotonic() - began, 3)
            log.info("question", statement=text, outcome=outcome, rows=found, seconds=seconds)

    async def download(self, request: Request) -> Response:
        """The answer as a file: up to a million rows."""
        form = await _form(request)
        text, shape = form.get("sql", "").strip(), form.get("format", "csv")
        try:
            rows = await self._asked(text, box.FILE_ROWS, box.FILE_BYTES)
        except No as error:
            return self.render(request, "trouble", "SQL", {"why": error.message}, 400)
        if rows.more:
            why = f"The answer has more than {box.FILE_ROWS:,} rows: ask for fewer, or use `stammgast export`."
            return self.render(request, "trouble", "SQL", {"why": why}, 400)
        write, kind = (
            (box.as_parquet, "application/vnd.apache.parquet") if shape == "parquet" else (box.as_csv, "text/csv")
        )
        data = await asyncio.to_thread(write, rows)
        ending = "parquet" if shape == "parquet" else "csv"
        headers = {
            "content-disposition": f'attachment; filename="stammgast-{rows.stamp.as_of or "empty"}.{ending}"',
            "x-stammgast-stamp": rows.stamp.as_json(),
        }
        return Response(data, media_type=kind, headers=headers)


def _tables() -> list[dict[str, Any]]:
    """Every table readers may ask, with its grain and columns."""
    return [{"name": name, **sql.mart(name)} for name in sql.names("marts")]


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form; of a larger one, nothing."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > FORM_BYTES:
            return {}
    fields = parse_qs(data.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20)
    return {name: values[-1] for name, values in fields.items()}


def make_app(desks: Desks, options: Options) -> Starlette:
    """The application; the copy is taken when it starts and kept fresh while it runs."""
    console = Console(desks, options)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        freshness = asyncio.create_task(desks.keep_fresh(options.refresh_s))
        try:
            yield
        finally:
            freshness.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await freshness
            await desks.close()

    routes: list[BaseRoute] = [
        console.page("/", "overview", "Overview", pages.overview),
        console.page("/cohorts", "cohorts", "Cohorts", pages.cohorts),
        console.page("/rfm", "rfm", "Recency, frequency, money", pages.rfm),
        console.page("/flows", "flows", "Flows", pages.flows),
        console.page("/churn", "churn", "Churn", pages.churn),
        console.page("/lift", "lift", "Lift", pages.lift),
        console.page("/loyalty", "loyalty", "Loyalty", pages.loyalty),
        console.page("/points", "points", "Points", pages.points),
        console.page("/play", "play", "Challenges and badges", pages.play),
        console.page("/money", "money", "Money", pages.money),
        console.page("/members", "members", "Members", pages.members),
        Route("/members/{key:path}", console.member),
        Route("/sql", console.sql, methods=["GET", "POST"]),
        Route("/sql/download", console.download, methods=["POST"]),
        Route("/stamp", console.stamp),
        Route("/login", console.login, methods=["GET", "POST"]),
        Route("/logout", console.logout, methods=["POST"]),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    guard = Middleware(Guard, sessions=console.sessions, hosts=options.hosts)
    return Starlette(routes=routes, middleware=[guard], lifespan=lifespan)
