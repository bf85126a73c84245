import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.grpc.health import NAMES
from tests.serving.grpc.servers import open_server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_health_follows_readiness(models: Path) -> None:
    async def check() -> None:
        async with open_server(models) as client:
            stub = health_pb2_grpc.HealthStub(client.channel)
            for ready, expected in ((True, SERVING), (False, NOT_SERVING)):
                client.plane.set_ready(ready=ready)
                for name in NAMES:
                    reply = await stub.Check(health_pb2.HealthCheckRequest(service=name))
                    assert reply.status == expected
                listed = await stub.List(health_pb2.HealthListRequest())
                assert {name: status.status for name, status in listed.statuses.items()} == dict.fromkeys(
                    NAMES, expected
                )

    asyncio.run(check())


def test_an_unknown_service_is_not_found(models: Path) -> None:
    async def check() -> None:
        async with open_server(models) as client:
            stub = health_pb2_grpc.HealthStub(client.channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(health_pb2.HealthCheckRequest(service="nope"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert "Received: 'nope'" in caught.value.details()

    asyncio.run(check())


def test_a_watch_reports_changes_and_ends_when_the_server_drains(models: Path) -> None:
    async def check() -> list[int]:
        async with open_server(models) as client:
            client.plane.set_ready(ready=False)
            stub = health_pb2_grpc.HealthStub(client.channel)
            seen = []
            async for reply in stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=20):
                seen.append(reply.status)
                client.plane.set_ready(ready=reply.status == NOT_SERVING)
            return seen

    assert asyncio.run(check()) == [NOT_SERVING, SERVING, NOT_SERVING]
