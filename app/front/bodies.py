"""Reads bodies of requests: complete, within a deadline and a size, and within a limit of memory for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from app.config import MIB
from app.errors import BodyIncomplete, BodyTooLarge, BodyTooSlow, ServerBusy, ServerStopping

if TYPE_CHECKING:
    from granian.rsgi import HTTPProtocol

#: The time in which a body must arrive …
BODY_SECONDS = 10.0
#: … plus a second for each of these: a large body on an ordinary line is not an attack.
BYTES_PER_SECOND = 256 * 1024
#: The memory for larger bodies in one process, each from its first byte to the end of its request.
MAX_MEMORY_BYTES = 128 * MIB
#: A body up to this size does not count against MAX_MEMORY_BYTES.
SMALL_BYTES = 64 * 1024
#: A client that is still sending when the connection closes can't read the response, so its bytes are read and dropped.
DISCARD_BYTES = 64 * MIB
DISCARD_SECONDS = 5.0


class Bodies:
    """The bodies that one process is reading or using."""

    def __init__(self) -> None:
        self.bytes = 0
        self.is_stopping = False
        self.waiting: set[asyncio.Timeout] = set()

    def stop(self) -> None:
        """Refuse the requests whose bodies are still arriving."""
        self.is_stopping = True
        for timeout in self.waiting:
            timeout.reschedule(asyncio.get_running_loop().time())

    @contextmanager
    def one_body(self) -> Iterator[Body]:
        """The body of one request; its memory counts until the block ends."""
        body = Body(self)
        try:
            yield body
        finally:
            self.bytes -= body.bytes

    async def discard(self, protocol: HTTPProtocol) -> None:
        """Read and drop what a client sends after the response, up to DISCARD_BYTES and DISCARD_SECONDS."""
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


class Body:
    """The body of one request. ``bytes``: what it counts for in the memory of all bodies."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.bytes = 0

    async def read(self, protocol: HTTPProtocol, length: int | None, limit: int) -> bytes:
        """The complete body. ``length`` in bytes, or None for chunked encoding; ``limit``: the largest allowed.

        Raises BodyTooLarge (before reading, if the length is known), BodyTooSlow, BodyIncomplete, ServerBusy,
        ServerStopping.
        """
        if length is not None and length > limit:
            raise BodyTooLarge(limit=limit)
        try:
            async with self._bodies._deadline(BODY_SECONDS) as timeout:
                with self._bodies._registered(timeout):
                    if length is not None and length <= SMALL_BYTES:
                        return await self._read_at_once(protocol)
                    return await self._read_in_pieces(protocol, length, limit, timeout)
        except TimeoutError:
            if self._bodies.is_stopping:
                raise ServerStopping from None
            raise BodyTooSlow(seconds=BODY_SECONDS) from None

    async def _read_at_once(self, protocol: HTTPProtocol) -> bytes:
        try:
            return await protocol()
        except RuntimeError:  # granian's ProtocolClosed
            raise BodyIncomplete from None

    async def _read_in_pieces(
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
        # granian ends a body with an empty piece, and adds another one where chunked encoding is invalid.
        if size != length if length is not None else empty > 1:
            raise BodyIncomplete
        return b"".join(pieces)

    def _count(self, size: int) -> None:
        new_bytes = size - self.bytes if size > SMALL_BYTES else 0
        if self._bodies.bytes + new_bytes > MAX_MEMORY_BYTES:
            raise ServerBusy
        self.bytes += new_bytes
        self._bodies.bytes += new_bytes
