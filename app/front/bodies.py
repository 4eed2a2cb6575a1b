"""Bodies of requests: complete, in time, within their size, and together within a bound of memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from app.config import MIB
from app.errors import BodyIncomplete, BodyTooLarge, BodyTooSlow, ServerBusy, ServerStopping

if TYPE_CHECKING:
    from granian.rsgi import HTTPProtocol

#: A body has so long to arrive …
BODY_SECONDS = 10.0
#: … and a second more for each so many bytes that came: a large one on an ordinary line is no attack.
BYTES_PER_SECOND = 256 * 1024
#: What larger bodies hold in one process, from their first byte to the end of their request.
HELD_BYTES = 128 * MIB
#: A body up to this counts for nothing.
SMALL_BYTES = 64 * 1024
#: A client that is still sending when the connection closes never reads why: its bytes are read and forgotten.
DISCARD_BYTES = 64 * MIB
DISCARD_SECONDS = 5.0


class Bodies:
    """The bodies of one process."""

    def __init__(self) -> None:
        self.bytes = 0
        self.is_stopping = False
        self.waiting: set[asyncio.Timeout] = set()

    def stop(self) -> None:
        """Whoever is still sending is answered now."""
        self.is_stopping = True
        for timeout in self.waiting:
            timeout.reschedule(asyncio.get_running_loop().time())

    @contextmanager
    def held(self) -> Iterator[Held]:
        """One request's body, and the memory it counts for until the request is over."""
        held = Held(self)
        try:
            yield held
        finally:
            self.bytes -= held.bytes

    async def discard(self, protocol: HTTPProtocol) -> None:
        """Read what a client goes on sending after its answer, within reason."""
        left = DISCARD_BYTES
        with suppress(TimeoutError):
            async with self._deadline(DISCARD_SECONDS):
                async for chunk in protocol:
                    left -= len(chunk)
                    if left <= 0:
                        return

    @contextmanager
    def _registered(self, timeout: asyncio.Timeout) -> Iterator[asyncio.Timeout]:
        self.waiting.add(timeout)
        try:
            yield timeout
        finally:
            self.waiting.discard(timeout)

    def _deadline(self, seconds: float) -> asyncio.Timeout:
        return asyncio.timeout(0 if self.is_stopping else seconds)


class Held:
    """The body of one request."""

    def __init__(self, all_of_them: Bodies) -> None:
        self._all = all_of_them
        self.bytes = 0

    async def read(self, protocol: HTTPProtocol, length: int | None, limit: int) -> bytes:
        """All of it; ``length`` is None where it comes in chunks.

        Raises BodyTooLarge (before anything is read, where the length says so), BodyTooSlow, BodyIncomplete,
        ServerBusy, ServerStopping.
        """
        if length is not None and length > limit:
            raise BodyTooLarge(limit=limit)
        try:
            async with self._all._deadline(BODY_SECONDS) as timeout:
                with self._all._registered(timeout):
                    if length is not None and length <= SMALL_BYTES:
                        return await self._whole(protocol)
                    return await self._in_pieces(protocol, length, limit, timeout)
        except TimeoutError:
            if self._all.is_stopping:
                raise ServerStopping from None
            raise BodyTooSlow(seconds=BODY_SECONDS) from None

    async def _whole(self, protocol: HTTPProtocol) -> bytes:
        try:
            return await protocol()
        except RuntimeError:  # granian's ProtocolClosed
            raise BodyIncomplete from None

    async def _in_pieces(
        self, protocol: HTTPProtocol, length: int | None, limit: int, timeout: asyncio.Timeout
    ) -> bytes:
        pieces: list[bytes] = []
        size, empty = 0, 0
        started = asyncio.get_running_loop().time()
        async for piece in protocol:
            if not piece:
                empty += 1
                continue
            size += len(piece)
            if size > limit:
                raise BodyTooLarge(limit=limit)
            self._count(size)
            pieces.append(piece)
            timeout.reschedule(started + BODY_SECONDS + size / BYTES_PER_SECOND)
        # granian ends a body with one empty piece, and puts another where chunks end badly.
        if size != length if length is not None else empty > 1:
            raise BodyIncomplete
        return b"".join(pieces)

    def _count(self, size: int) -> None:
        more = size - self.bytes if size > SMALL_BYTES else 0
        if self._all.bytes + more > HELD_BYTES:
            raise ServerBusy
        self.bytes += more
        self._all.bytes += more
