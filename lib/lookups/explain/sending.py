"""Many requests to one server: a bounded number at once, each tried again after growing waits.

The rules alone: `ask` makes one attempt and `keep` stores a reply, so both can be anything. When a
request has failed for good no new one is begun, and those under way are brought to their end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lookups.errors import ServerError
from lookups.explain.replies import Reply, Request
from lookups.explain.server import Trouble
from lookups.llm_settings import LlmSettings

Ask = Callable[[Request], Awaitable[Reply | Trouble]]
Keep = Callable[[Request, Reply], None]


async def send_all(
    requests: Iterable[Request], ask: Ask, keep: Keep, settings: LlmSettings
) -> None:
    """Ask every request once, or until it is answered; `keep` gets every reply as it comes in.

    Raises:
        ServerError: a request failed for good; replies that came in before have been kept.
    """
    line, queue = _Line(ask, keep, settings), iter(requests)
    workers = [asyncio.create_task(line.work(queue)) for _ in range(settings.concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if line.failure is not None:
        raise ServerError(line.failure)


class _Line:
    """What the workers of one call share."""

    def __init__(self, ask: Ask, keep: Keep, settings: LlmSettings) -> None:
        self._ask, self._keep, self._settings = ask, keep, settings
        self._stopped = asyncio.Event()
        self._closed_until = 0.0
        self.failure: str | None = None

    async def work(self, queue: Iterator[Request]) -> None:
        """Take one request after another from the queue that all workers share."""
        for request in queue:
            await self._settle(request)
            if self._stopped.is_set():
                return

    async def _settle(self, request: Request) -> None:
        """Try a request until it is answered, has failed for good, or another one has."""
        for attempt in range(self._settings.retries + 1):
            await self._until_open()
            if self._stopped.is_set():
                return
            outcome = await self._ask(request)
            if isinstance(outcome, Reply):
                self._keep(request, outcome)
                return
            if not outcome.again or attempt == self._settings.retries:
                break
            asked = outcome.wait or 0.0
            if asked > self._settings.longest_wait:
                self._fail(
                    f"{outcome.what}; it asks for a wait of {asked:.0f} seconds: run again after "
                    "that, or raise longest_wait"
                )
                return
            # A server that asks for a pause gets it from all workers, not only from this one.
            now = asyncio.get_running_loop().time()
            self._closed_until = max(self._closed_until, now + asked)
            await self._sleep(max(asked, backoff(request, attempt, self._settings)))
        if outcome.otherwise is not None:
            self._keep(request, outcome.otherwise)
        else:
            self._fail(outcome.what)

    def _fail(self, what: str) -> None:
        self.failure = self.failure or what
        self._stopped.set()

    async def _until_open(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._closed_until - loop.time()) > 0 and not self._stopped.is_set():
            await self._sleep(left)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not on when there is nothing left to wait for."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            pass


def backoff(request: Request, attempt: int, settings: LlmSettings) -> float:
    """Return the seconds to wait after a failed attempt, the first being 0: doubled, up to a cap.

    Between half and the whole of that, by the request's digest: requests that failed together do
    not come back together, and no random numbers are needed.
    """
    # Beyond 2 ** 60 the cap has long been reached, and a float would soon be too small.
    longest = min(settings.longest_wait, settings.first_wait * 2.0 ** min(attempt, 60))
    return longest * (0.5 + 0.5 * int(request.digest[:4], 16) / 0xFFFF)


def run_apart(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end in a thread of its own: a notebook has a loop running already.

    An interrupt cancels it, waits until it has let go of everything, and is passed on.
    """
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Task]] = []

    async def noted() -> None:
        begun.append((asyncio.get_running_loop(), asyncio.current_task()))
        await main

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(asyncio.run, noted())
        try:
            future.result()
        except BaseException:
            for loop, task in begun:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(task.cancel)
            raise
