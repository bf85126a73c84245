"""HandleReloadConfigRequest: another set of models for a running server."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from serving.grpc.unary import Call
from serving.protos import model_management_pb2

if TYPE_CHECKING:
    from serving.data_plane import DataPlane
    from serving.metrics import Metrics


class ReloadRpc:
    """The RPC of ModelService that changes what is served.

    Args:
        data_plane: What serves the models.
        metrics: Where the increases that a request asks for are read.
    """

    def __init__(self, data_plane: "DataPlane", metrics: "Metrics") -> None:
        self._data_plane = data_plane
        self._metrics = metrics

    async def handle_reload_config_request(
        self, request: model_management_pb2.ReloadConfigRequest, _timeout_s: float | None, _call: Call
    ) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the whole set of models, and answers when the new ones are available."""
        before = self._read(request.metric_names) if request.metric_names else {}
        await self._data_plane.administration.replace(request.config)
        after = self._read(request.metric_names) if request.metric_names else {}
        reply = model_management_pb2.ReloadConfigResponse(status={"error_code": 0})
        for name in request.metric_names:
            if name in after:
                reply.metric.add(name=name, int64_value_increase=round(after[name] - before.get(name, 0.0)))
        return reply

    def _read(self, names: Iterable[str]) -> dict[str, float]:
        """The counters of these names, summed over their labels; what is no counter is left out."""
        text = self._metrics.expose().decode()
        found = {}
        for name in names:
            exposed = re.escape(name.replace("/", ":"))
            values = re.findall(rf"^{exposed}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
            if values:
                found[name] = sum(map(float, values))
        return found
