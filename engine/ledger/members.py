"""The members of a partition: bytes for all of them, live objects for the few to whom something happens now."""

from __future__ import annotations

from collections.abc import Iterator, KeysView

from engine.ledger.member import Member
from engine.ledger.packing import pack, unpack

#: How many members of a partition are kept unpacked.
LIVE_MEMBERS = 5_000


class Members:
    """All members by key: packed, and up to ``live`` of them unpacked too, those that were asked for last.

    Two generations take the place of a list in the order of use: who is asked for goes to the young one; when nobody is left in
    the old one, and the young one is half full, it becomes the old one. Only where all places are taken, a newcomer makes one of
    the old ones be packed: of those who were not asked for again the one who has been there longest.
    """

    __slots__ = ("_half", "_most", "_old", "_packed", "_young")

    def __init__(self, live: int = LIVE_MEMBERS) -> None:
        """Start without members; ``live`` is the most objects kept, at least 2."""
        self._most = max(2, live)
        self._half = self._most // 2
        # None: the member changed since he was packed, so he is in one of the generations.
        self._packed: dict[str, bytes | None] = {}
        self._young: dict[str, Member] = {}
        self._old: dict[str, Member] = {}

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, key: object) -> bool:
        return key in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __getitem__(self, key: str) -> Member:
        member = self.get(key)
        if member is None:
            raise KeyError(key)
        return member

    def keys(self) -> KeysView[str]:
        """Return all keys, in the order in which their members came."""
        return self._packed.keys()

    @property
    def live(self) -> int:
        """How many members are unpacked now."""
        return len(self._young) + len(self._old)

    def get(self, key: str) -> Member | None:
        """Return a member, None if there is none of that key. Whoever changes him says so with `put` right away.

        Raises:
            UnknownStateFormat: his packed state is damaged.
        """
        member = self._young.get(key)
        if member is not None:
            return member
        member = self._old.pop(key, None)
        if member is None:
            packed = self._packed.get(key)
            if packed is None:
                return None
            member = unpack(key, packed)
            self._make_room()
        self._admit(member)
        return member

    def peek(self, key: str) -> Member | None:
        """Return a member to look at, None if there is none of that key; who is kept as an object does not change.

        Raises:
            UnknownStateFormat: his packed state is damaged.
        """
        member = self._young.get(key) or self._old.get(key)
        packed = self._packed.get(key)
        return unpack(key, packed) if member is None and packed is not None else member

    def put(self, member: Member) -> None:
        """Take in a member who is new, or who was changed."""
        self._packed[member.key] = None
        if member.key not in self._young:
            if self._old.pop(member.key, None) is None:
                self._make_room()
            self._admit(member)

    def packed(self, key: str) -> bytes:
        """Return a member's packed state; it is kept until he changes. Raises KeyError for a key that is not known."""
        packed = self._packed[key]
        if packed is None:
            live = self._young if key in self._young else self._old
            packed = self._packed[key] = pack(live[key])
        return packed

    def restore(self, key: str, packed: bytes) -> None:
        """Take in a member as he was packed, in place of what is known of him; nothing is unpacked."""
        self._young.pop(key, None)
        self._old.pop(key, None)
        self._packed[key] = packed

    def _make_room(self) -> None:
        """Pack the old one who has been there longest, where all places are taken."""
        if len(self._young) + len(self._old) < self._most:
            return
        key, leaving = self._old.popitem()
        if self._packed[key] is None:
            self._packed[key] = pack(leaving)

    def _admit(self, member: Member) -> None:
        self._young[member.key] = member
        if not self._old and len(self._young) >= self._half:
            # The last of a dict is taken out at once, the first only behind all that were taken out before.
            self._old, self._young = dict(reversed(self._young.items())), {}
