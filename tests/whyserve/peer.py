"""An HTTP peer of a few lines, for tests of what sends loads."""

import asyncio

from whyserve.benchmark.load import Plan

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
FAILURE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"
EMPTY_BODY = ""


class Peer:
    """An HTTP peer of a few lines that is ready until `answers` requests were answered, and fails every `fails`-th.

    Args:
        answers: After so many requests `/readyz` fails.
        fails: Every so many requests one gets 503; 0: none.
        delay_s: Seconds that the first request has to wait.
    """

    def __init__(self, *, answers=20, fails=0, delay_s=0.0):
        self.requests = 0
        self._answers, self._fails, self._delay_s = answers, fails, delay_s
        self._connections = []

    async def _serve(self, reader, writer):
        self._connections.append(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"/readyz" in head:
                    writer.write(ANSWER if self.requests < self._answers else FAILURE)
                    return
                self.requests += 1
                if self.requests == 1:
                    await asyncio.sleep(self._delay_s)
                failing = self._fails and self.requests % self._fails == 0
                writer.write(FAILURE if failing else ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the load, or the test, is over
        finally:
            writer.close()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections)


def plan(port, **options):
    return Plan("rest", "127.0.0.1", port, "/v1/models/m:predict", EMPTY_BODY, **options)
