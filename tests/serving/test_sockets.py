"""Unix sockets, and IPv6 and IPv4 on one port."""

import socket
import stat

import httpx
import pytest

from serving.errors import StartError
from serving.sockets import port_text, reserve_path
from tests.serving.security.servers import BODY, URL, ask_grpc, make_options, run, running


def test_both_transports_answer_on_unix_sockets_beside_their_ports(tmp_path, caplog):
    caplog.set_level("INFO")
    paths = {name: str(tmp_path / name) for name in ("rest_api_socket_path", "grpc_socket_path")}
    options = make_options(tmp_path, **paths)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(paths["rest_api_socket_path"])  # left behind by a server that was killed
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(paths["grpc_socket_path"])

    async def test() -> None:
        async with running(options):
            transport = httpx.AsyncHTTPTransport(uds=paths["rest_api_socket_path"])
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                assert (await client.post(URL, json=BODY)).status_code == 200
            assert b"probabilities" in await ask_grpc(f"unix:{paths['grpc_socket_path']}")
            assert b"probabilities" in await ask_grpc(options)
            for path in paths.values():
                assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o660

    run(test)
    for name, path in paths.items():
        assert not (tmp_path / path).exists(), "a stopped server cleans up"
        assert f"{'REST' if 'rest' in name else 'gRPC'} on unix:{path}" in caplog.text


def test_a_server_needs_no_port(tmp_path):
    paths = {name: str(tmp_path / name) for name in ("rest_api_socket_path", "grpc_socket_path")}
    options = make_options(tmp_path, port=0, rest_api_port=0, **paths)

    async def test() -> None:
        async with running(options):
            await ask_grpc(f"unix:{paths['grpc_socket_path']}")

    run(test)


@pytest.mark.parametrize("option", ["rest_api_socket_path", "grpc_socket_path"])
def test_a_socket_that_somebody_listens_on_is_left_alone(tmp_path, option):
    path = str(tmp_path / "socket")
    options = make_options(tmp_path, **{option: path})

    async def test() -> None:
        async with running(options):
            pytest.fail("started")

    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(StartError, match=f"`{option}` must be a path .* Received: {path}: a server listens there"):
            run(test)
    assert (tmp_path / "socket").exists()


def test_what_cannot_become_a_socket_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    for name, reason in (
        ("file", "there is something that is no socket"),
        ("missing/socket", "No such file or directory"),
        ("x" * 108, "the path is longer than 107 bytes"),
    ):
        with pytest.raises(StartError, match=f"`grpc_socket_path` must be a path where .*: {reason}"):
            reserve_path(str(tmp_path / name), "grpc_socket_path")
    assert (tmp_path / "file").read_text() == "precious"


def test_every_address_of_ipv6_is_every_address_of_ipv4_too(tmp_path, caplog):
    caplog.set_level("INFO")
    options = make_options(tmp_path, host="::")

    async def test() -> None:
        async with running(options):
            for host in ("127.0.0.1", "::1"):
                async with httpx.AsyncClient(base_url=f"http://{port_text(host, options.rest_api_port)}") as client:
                    assert (await client.post(URL, json=BODY)).status_code == 200
                await ask_grpc(port_text(host, options.port))

    run(test)
    assert f"gRPC on [::]:{options.port}, REST on [::]:{options.rest_api_port}" in caplog.text
