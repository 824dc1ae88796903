"""Bad clients: garbage, strangers' names, too much, gone in the middle, a byte at a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from tests.soak.ledger import Sample
from tests.soak.questions import Question, question

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from tests.soak.asking import Asking
    from tests.soak.registry import Model

_PIECE: Final = 40
_PATIENCE: Final = 60.0


class Odd:
    """Does one odd thing at a time, and checks what the gateway makes of it."""

    def __init__(self, asking: Asking, *, rng: Random, max_body: int) -> None:
        self._asking = asking
        self._rng = rng
        self._max_body = max_body
        self._ways: list[Callable[[Model, str], Awaitable[None]]] = [
            self._garbage,
            self._stranger,
            self._oversize,
            self._gone_waiting,
            self._gone_uploading,
            self._by_bytes,
        ]

    async def act(self, model: Model, ref: str) -> None:
        """Any of them."""
        await self._rng.choice(self._ways)(model, ref)

    async def _garbage(self, model: Model, ref: str) -> None:
        """It is refused as such."""
        await self._expect(Question(model.name, ref, expected=frozenset({400})), b'{"dataframe_split": [')

    async def _stranger(self, model: Model, ref: str) -> None:
        """There is no such model."""
        await self._expect(Question("soak-unknown", ref, expected=frozenset({404})), b'{"inputs": [1]}')

    async def _oversize(self, model: Model, ref: str) -> None:
        """Refused by its size; who goes on sending may find the connection closed before it reads so."""
        asked = Question(model.name, ref, expected=frozenset({413, 0}))
        await self._expect(asked, b'{"inputs": "' + b"x" * self._max_body + b'"}')

    async def _gone_waiting(self, model: Model, ref: str) -> None:
        """The whole request, and away before its answer."""
        await self._leave(model, ref, share=1.0)

    async def _gone_uploading(self, model: Model, ref: str) -> None:
        """Half a body, and away."""
        await self._leave(model, ref, share=0.5)

    async def _by_bytes(self, model: Model, ref: str) -> None:
        """A few bytes at a time: it is answered like any other."""
        asked = question(model.name, ref, kind=model.kind, rng=self._rng)
        request = self._request(asked)
        with self._asking.counted(asked):
            began = monotonic()
            status, text = 0, "no answer"
            with suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_PATIENCE):
                    status, text = await self._dribbled(request)
            sample = Sample(asked.name, asked.ref, began, monotonic(), status, text)
        self._asking.judge(asked, sample)

    async def _expect(self, asked: Question, body: bytes) -> None:
        with self._asking.counted(asked):
            sample = await self._asking.sent(asked, body, {"Content-Type": "application/json"})
        self._asking.judge(asked, sample)

    async def _leave(self, model: Model, ref: str, *, share: float) -> None:
        asked = question(model.name, ref, kind=model.kind, rng=self._rng)
        request = self._request(asked)
        with self._asking.counted(asked), suppress(OSError):
            _, writer = await self._connection()
            writer.write(request[: int(len(request) * share)])
            await asyncio.sleep(self._rng.uniform(0, 0.05))
            writer.transport.abort()

    async def _dribbled(self, request: bytes) -> tuple[int, str]:
        reader, writer = await self._connection()
        try:
            size = max(_PIECE, len(request) // 50)
            for start in range(0, len(request), size):
                writer.write(request[start : start + size])
                await writer.drain()
                await asyncio.sleep(0.01)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            return int(head.split()[1]), body.decode()
        finally:
            writer.close()

    def _request(self, asked: Question) -> bytes:
        body, headers = asked.message()
        lines = [f"POST {asked.path} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        url = self._asking.url
        return await asyncio.open_connection(url.host, url.port, limit=2**24)
