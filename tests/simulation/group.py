"""The consumer group: members with sessions, rebalances with generations, and offsets that somebody may meddle with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiokafka.errors import CommitFailedError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError

from engine.stream.batches import SESSION_S
from tests.simulation.logs import Place
from tests.simulation.network import Network

HEARTBEAT_S = SESSION_S / 4
REBALANCE_S = 30.0


@dataclass(slots=True)
class Member:
    """One member as the coordinator knows it; `joining` while it waits for the end of a rebalance."""

    name: str
    heard: float
    joining: Any = None
    places: list[Place] = field(default_factory=list)


class Group:
    """The coordinator."""

    def __init__(self, net: Network, rng: Random, places: list[Place]) -> None:
        self._net, self._rng = net, rng
        self._all_places = places
        self.members: dict[str, Member] = {}
        self.offsets: dict[Place, int] = {}
        self.generation = 0
        self.rebalances = 0
        self.listeners: list[Any] = []
        self._rebalancing = False
        self._deadline = 0.0
        self._born = 0

    def watch_sessions(self) -> None:
        """Look for members that are silent too long, for ever."""
        now = self._net.loop.time()
        for name, member in list(self.members.items()):
            if member.joining is None and now - member.heard > SESSION_S:
                self._drop(name)
        if self._rebalancing and now >= self._deadline:
            for name, member in list(self.members.items()):
                if member.joining is None:
                    del self.members[name]
            self._try_to_end()
        self._net.later(1.0, self.watch_sessions)

    # -- asked by members

    def join(self, name: str | None) -> asyncio.Future[Any]:
        """Join, or join again: the future's result is (name, generation, places) once the rebalance is over."""
        if name is None or name not in self.members:
            self._born += 1
            name = f"member-{self._born}"
            self.members[name] = Member(name, self._net.loop.time())
        answer: asyncio.Future[Any] = self._net.loop.create_future()
        answer.add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )  # the member may be dead and never hear it
        self.members[name].joining = answer
        if not self._rebalancing:
            self.rebalance()
        self._net.later(self._net.delay(), self._try_to_end)
        return answer

    def heartbeat(self, name: str, generation: int) -> None:
        """Errors: UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError."""
        self._known(name, generation).heard = self._net.loop.time()
        if self._rebalancing:
            raise RebalanceInProgressError

    def commit(self, name: str, generation: int, offsets: dict[Place, int]) -> None:
        """Errors: CommitFailedError when the member is no longer one."""
        try:
            self._known(name, generation)
        except (UnknownMemberIdError, IllegalGenerationError) as error:
            raise CommitFailedError from error
        for listener in self.listeners:
            listener(offsets)
        self.offsets.update(offsets)

    def leave(self, name: str) -> None:
        """Say good-bye."""
        if name in self.members:
            self._drop(name)

    # -- the coordinator's own

    def rebalance(self) -> None:
        """Begin one: members learn of it with their next heartbeat."""
        self._rebalancing = True
        self._deadline = self._net.loop.time() + REBALANCE_S

    @property
    def calm(self) -> bool:
        """Is no rebalance under way?"""
        return not self._rebalancing

    def _known(self, name: str, generation: int) -> Member:
        member = self.members.get(name)
        if member is None:
            raise UnknownMemberIdError
        if generation != self.generation:
            raise IllegalGenerationError
        return member

    def _drop(self, name: str) -> None:
        member = self.members.pop(name)
        if member.joining is not None and not member.joining.done():
            member.joining.set_exception(UnknownMemberIdError())
        if self.members and not self._rebalancing:
            self.rebalance()
        self._try_to_end()

    def _try_to_end(self) -> None:
        if not self._rebalancing or any(member.joining is None for member in self.members.values()):
            return
        self._rebalancing = False
        if not self.members:
            return
        self.generation += 1
        self.rebalances += 1
        members = list(self.members.values())
        self._rng.shuffle(members)
        for number, member in enumerate(members):
            member.places = self._all_places[number :: len(members)]
            waiting, member.joining, member.heard = member.joining, None, self._net.loop.time()
            if not waiting.done():
                waiting.set_result((member.name, self.generation, member.places))
