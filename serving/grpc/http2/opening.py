"""The first bytes of a connection: HTTP/2's preface, or the sign of a client that speaks something else."""

import re

from serving.grpc.http2.frames import PREFACE

_REQUEST_LINE = re.compile(rb"[A-Z]+ ")

_HTTP1_TEXT = b"This port speaks gRPC, over HTTP/2 without an upgrade. REST has a port of its own.\n"
HTTP1_REPLY = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
    % (len(_HTTP1_TEXT), _HTTP1_TEXT)
)


class NotHttp2Error(Exception):
    """The client speaks another protocol.

    Args:
        reply: What it may understand; empty where nothing is known of it.
    """

    def __init__(self, reply: bytes) -> None:
        super().__init__("no HTTP/2")
        self.reply = reply


class Opening:
    """Takes the preface off the first bytes."""

    def __init__(self) -> None:
        self._received = b""

    def feed(self, data: bytes) -> bytes | None:
        """What follows the preface; None as long as it is incomplete.

        Raises:
            NotHttp2Error: It is none.
        """
        self._received += data
        start = self._received[: len(PREFACE)]
        if not PREFACE.startswith(start):
            raise NotHttp2Error(HTTP1_REPLY if _REQUEST_LINE.match(self._received) else b"")
        return self._received[len(PREFACE) :] if start == PREFACE else None
