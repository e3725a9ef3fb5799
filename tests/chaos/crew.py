"""Processes under a supervisor: whoever dies is started again after a moment, as systemd or Kubernetes would.

How each life ended is judged: what was asked for, an exit with a message and code 1 or 2 (a broker that is away), or
something that must not happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.broker import free_port

ROOT = Path(__file__).parents[2]
LOOK_S = 0.1
#: A supervisor's pause before the next start, doubled with every quick death.
BACKOFF_S, BACKOFF_MOST_S = 0.3, 3.0
QUICK_DEATH_S = 10.0
#: A process that is asked to stop has 15 s (`--shutdown-seconds`); a busy machine gets this much more before it is a hang.
STOP_S = 30.0
TAIL_BYTES = 3_000


@dataclass(eq=False)
class Post:
    """A place that one process fills at a time.

    Args:
        arguments: of the command, without the port of its telemetry.
    """

    name: str
    verb: str
    arguments: Sequence[str]
    folder: Path
    launcher: Sequence[str]
    wanted: bool = True
    frozen: bool = False
    lives: int = 0
    began: float = 0.0
    port: int = 0
    asked: str = ""
    process: subprocess.Popen[bytes] | None = None
    backoff_s: float = BACKOFF_S
    start_at: float = 0.0

    @property
    def log(self) -> Path:
        """What the present life says."""
        return self.folder / f"{self.name}.life-{self.lives}.log"

    @property
    def alive(self) -> bool:
        """Does a process run here?"""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Begin the next life."""
        self.lives += 1
        self.port, self.asked, self.frozen, self.began = free_port(), "", False, time.monotonic()
        with self.log.open("wb") as said:
            self.process = subprocess.Popen(
                [*self.launcher, self.verb, *self.arguments, "--metrics-port", str(self.port)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def send(self, number: signal.Signals, asked: str = "") -> None:
        """Send a signal, if somebody is there; `asked` says what end is expected of it."""
        if self.process is not None and self.alive:
            self.asked = asked or self.asked
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send(signal.SIGKILL, "kill")

    def freeze(self) -> None:
        """SIGSTOP."""
        self.send(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)
        self.frozen = False

    def tail(self) -> str:
        """The end of what it said."""
        return self.log.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace")


@dataclass
class Crew:
    """Everybody under supervision; `wrong` is told what must not happen."""

    folder: Path
    wrong: Callable[[str], None]
    launcher: Sequence[str] = ()
    posts: list[Post] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    resting: bool = False

    def hire(self, name: str, verb: str, arguments: Sequence[str]) -> Post:
        """Give somebody a post and start him."""
        launcher = self.launcher or (str(Path(sys.executable).with_name("stammgast")),)
        post = Post(name, verb, arguments, self.folder, launcher)
        self.posts.append(post)
        post.start()
        return post

    async def watch(self) -> None:
        """Start again whoever died, for ever."""
        while True:
            for post in self.posts:
                self._look(post)
            await asyncio.sleep(LOOK_S)

    def _look(self, post: Post) -> None:
        if post.process is not None and not post.alive:
            self._ended(post)
        if post.process is None and post.wanted and time.monotonic() >= post.start_at:
            post.start()

    def _ended(self, post: Post) -> None:
        assert post.process is not None
        code, lived = post.process.returncode, time.monotonic() - post.began
        post.process = None
        kind = self.judge(post, code)
        self.endings[f"{post.verb}: {kind}"] += 1
        quick = lived < QUICK_DEATH_S and not post.asked
        post.backoff_s = min(BACKOFF_MOST_S, post.backoff_s * 2) if quick else BACKOFF_S
        post.start_at = time.monotonic() + post.backoff_s

    def judge(self, post: Post, code: int) -> str:
        """What kind of end this was; tells `wrong` about one that must not be."""
        if post.asked == "kill" and code == -signal.SIGKILL:
            return "killed"
        if post.asked and code == 0:
            return "stopped in order"
        tail = post.tail()
        # The last word of a process whose good-byes took too long is in its log.
        said = [line for line in tail.splitlines() if line.startswith("Error: ") or "ended hard" in line]
        if code in (1, 2) and said:
            return f"exit {code} with a message"
        if post.asked == "stop" and code in (-signal.SIGTERM, 1):
            # Before its handlers stand, a process that is just starting ends by the signal itself.
            return f"stopped, code {code}"
        self.wrong(f"{post.log.name} ended with {code} and no message (asked: {post.asked or 'nothing'})")
        return f"ended with {code} and no message"

    async def stop(self, post: Post) -> None:
        """SIGTERM and wait; a process that is still there after STOP_S hangs."""
        post.wanted = False
        post.thaw()
        post.send(signal.SIGTERM, "stop")
        process, deadline = post.process, time.monotonic() + STOP_S
        while process is not None and process.poll() is None:
            if time.monotonic() > deadline:
                self.wrong(f"{post.log.name} did not stop within {STOP_S:.0f} s of SIGTERM")
                post.kill()
                deadline += STOP_S
            await asyncio.sleep(LOOK_S)
        self._look(post)

    def close(self) -> None:
        """Whatever happened, nobody is left afterwards."""
        for post in self.posts:
            post.wanted = False
            if post.process is not None and post.alive:
                with contextlib.suppress(ProcessLookupError):
                    post.process.kill()
                post.process.wait(10)
