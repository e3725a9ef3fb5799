"""Who may see a page: the right Host, a session that began with the token, and headers that keep a browser in its place."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Set as AbstractSet
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION_S = 12 * 3600
SESSIONS_MAX = 1_000
OPEN_PATHS = ("/login", "/static/")
# No script or style inside a page, nothing from anywhere else, no frame around it, forms only to us.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Sessions:
    """Who is logged in. The token is asked once; after that a cookie with a number of its own stands for it."""

    def __init__(self, token: str, port: int, *, secure: bool = False) -> None:
        self._token = token.encode()
        self._secure = secure
        self._until: dict[str, float] = {}
        # Cookies do not know ports: two consoles on one machine must not log each other out.
        self.cookie = f"stammgast_console_{port}"

    def open(self, token: str) -> str | None:
        """The number of a new session, None where the token is wrong."""
        if not hmac.compare_digest(token.strip().encode(), self._token):
            return None
        now = time.monotonic()
        self._until = {one: until for one, until in self._until.items() if until > now}
        while len(self._until) >= SESSIONS_MAX:
            del self._until[next(iter(self._until))]
        session = secrets.token_urlsafe(32)
        self._until[session] = now + SESSION_S
        return session

    def holds(self, headers: Headers) -> bool:
        """Does a request belong to a session?"""
        return self._until.get(self.of(headers), 0.0) > time.monotonic()

    def close(self, headers: Headers) -> None:
        """End the session of a request."""
        self._until.pop(self.of(headers), None)

    def of(self, headers: Headers) -> str:
        """The session's number that a request shows; empty without one."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return "" if found is None else found.value

    def remember(self, response: Response, session: str) -> None:
        """Give the browser its cookie: no script reads it, no other site sends it."""
        response.set_cookie(
            self.cookie, session, max_age=SESSION_S, path="/", secure=self._secure, httponly=True, samesite="strict"
        )

    def forget(self, response: Response) -> None:
        """Take the cookie back."""
        response.delete_cookie(self.cookie, path="/", secure=self._secure, httponly=True, samesite="strict")


class Guard:
    """Middleware around everything. A page that another site's name leads to (DNS rebinding) is refused by its Host; a form that
    another page sends, by its Origin: pages on other ports of this machine are the same site for a cookie."""

    def __init__(self, app: ASGIApp, *, sessions: Sessions, hosts: AbstractSet[str]) -> None:
        self._app = app
        self._sessions = sessions
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if not scope["path"].startswith("/static/"):
                    headers["cache-control"] = "no-store"
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if headers.get("host", "").lower() not in self._hosts:
            return PlainTextResponse(f"Ask for one of: {', '.join(sorted(self._hosts))}.", 421)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("Only GET and POST are answered.", 405)
        if scope["method"] == "POST" and not self._own(headers):
            return PlainTextResponse("This form was sent by another page.", 403)
        path = scope["path"]
        if path.startswith(OPEN_PATHS) or self._sessions.holds(headers):
            return None
        if "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return PlainTextResponse("Log in first: POST the token to /login.", 401)

    def _own(self, headers: Headers) -> bool:
        """Does a form come from one of our pages? Programs other than browsers send no Origin."""
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        return urlsplit(origin).netloc.lower() in self._hosts
