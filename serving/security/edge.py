"""What the flags put around the transports. Where none is set, nothing is imported and nothing stands in the way."""

import logging
from typing import TYPE_CHECKING

from serving.metrics import METRICS_PATH, Metrics
from serving.options import ServerOptions

if TYPE_CHECKING:
    from serving.grpc.guard import RpcGuard
    from serving.rest.asgi import App
    from serving.security.guard import Guard
    from serving.security.reload import Watcher
    from serving.security.tls import TlsFile
    from serving.security.tokens import TokenFile

logger = logging.getLogger(__name__)


class Edge:
    """TLS, tokens and the number of requests.

    Args:
        options: The server's.
        metrics: Where what is refused is counted.
        metrics_path: Where REST shows the metrics.

    Raises:
        StartError: A file that an option names can't be used.
    """

    def __init__(self, options: ServerOptions, metrics: Metrics, *, metrics_path: str = METRICS_PATH) -> None:
        self._options = options
        self._metrics_path = metrics_path
        self._metrics = metrics
        self.tls = self._open_tls()
        self._tokens = self._open_tokens()
        self._guard = self._make_guard()
        self._watcher = self._make_watcher()

    @property
    def rest_tls(self) -> "TlsFile | None":
        """The certificates of REST; None where it is plain."""
        return self.tls if self._options.rest_api_ssl else None

    def protect(self, app: "App") -> "App":
        """The REST application with what stands before it."""
        guarded = app
        if self._guard is not None:
            from serving.rest.guard import GuardedApp

            guarded = GuardedApp(
                guarded,
                self._guard,
                self._metrics,
                open_paths=self.open_paths() or (),
                uncounted_paths=(self._metrics_path,),
            )
        if self._options.rest_api_enable_cors_support:
            from serving.rest.guard import CorsApp

            guarded = CorsApp(guarded, tokens=self._tokens is not None)
        return guarded

    def rpc_guard(self) -> "RpcGuard | None":
        """What stands before every RPC; None where nothing does."""
        if self._guard is None:
            return None
        from serving.grpc.guard import RpcGuard

        return RpcGuard(self._guard, self._metrics)

    def open_paths(self) -> frozenset[str] | None:
        """The paths of REST that need no token; None where none does."""
        if self._tokens is None:
            return None
        from serving.rest.routes import HEALTH

        return HEALTH if self._options.metrics_need_token else HEALTH | {self._metrics_path}

    def announce(self) -> None:
        """Says in the log what somebody who comes from TensorFlow Serving may not expect."""
        options = self._options
        if self.tls is not None and options.rest_api_port:
            if options.rest_api_ssl:
                logger.warning("REST speaks TLS too, unlike TensorFlow Serving's. --rest_api_ssl=false makes it plain")
            else:
                logger.warning("REST is plain HTTP beside gRPC over TLS: anybody between can read and change it")
        if self._tokens is not None and self.rest_tls is None and options.rest_api_port:
            logger.warning("Tokens travel unencrypted over REST: give an --ssl_config_file, or let a proxy speak TLS")

    async def watch(self) -> None:
        """Keeps certificates and tokens up to date until it is cancelled."""
        if self._watcher is not None:
            await self._watcher.run()

    def _open_tls(self) -> "TlsFile | None":
        if self._options.ssl_config_file is None:
            return None
        from serving.security.tls import TlsFile

        return TlsFile(self._options.ssl_config_file)

    def _open_tokens(self) -> "TokenFile | None":
        if self._options.auth_tokens_file is None:
            return None
        from serving.security.tokens import TokenFile

        return TokenFile(self._options.auth_tokens_file)

    def _make_guard(self) -> "Guard | None":
        if self._tokens is None and not self._options.max_concurrent_requests:
            return None
        from serving.security.guard import Guard

        limit = self._options.max_concurrent_requests
        return Guard(self._tokens, max_concurrent_requests=limit, registry=self._metrics.registry)

    def _make_watcher(self) -> "Watcher | None":
        files = [file for file in (self.tls, self._tokens) if file is not None]
        if not files:
            return None
        from serving.security.reload import Watcher

        return Watcher(files)
