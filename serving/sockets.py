"""TCP ports and unix sockets, taken before the models are loaded."""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from serving.errors import StartError

_ALL_ADDRESSES = "::"
# Whoever may write to a socket may ask; the folder can narrow that, or its group widen it.
_SOCKET_MODE = 0o660
# The size of sockaddr_un.sun_path on Linux, with its closing zero.
_MAX_SOCKET_PATH = 107


def reserve(host: str, port: int, what: str) -> socket.socket:
    """Binds a port without listening.

    One that is taken is found out before the models are loaded, and nobody can connect yet.

    Raises:
        StartError: The port is taken, or the address isn't one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        reserved = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"`host` must be an address of this machine. Received: host={host!r}: {error}.") from error
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == _ALL_ADDRESSES:
            reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # whatever the system's default is
        reserved.bind(address)
    except OSError as error:
        reserved.close()
        raise port_taken(what, host, port, error) from error
    return reserved


def reserve_path(path: str, option: str) -> socket.socket:
    """Binds a unix socket without listening, in place of one that a dead server left behind.

    Raises:
        StartError: Somebody listens there, or nothing can be made there.
    """
    clear_path(path, option)
    reserved = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        reserved.bind(path)
        restrict(path)
    except OSError as error:
        reserved.close()
        raise path_taken(option, path, error.strerror or str(error)) from error
    return reserved


def clear_path(path: str, option: str) -> None:
    """Makes room for a unix socket: removes one that nobody listens on.

    Raises:
        StartError: Somebody does, something else is there, or the path is too long.
    """
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise path_taken(option, path, f"the path is longer than {_MAX_SOCKET_PATH} bytes")
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise path_taken(option, path, error.strerror or str(error)) from error
    if not stat.S_ISSOCK(mode):
        raise path_taken(option, path, "there is something that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise path_taken(option, path, "a server listens there")
    Path(path).unlink(missing_ok=True)


def restrict(path: str) -> None:
    """Lets owner and group connect to a unix socket, and nobody else."""
    Path(path).chmod(_SOCKET_MODE)


def remove_path(path: str) -> None:
    """Removes a unix socket that is no longer listened on."""
    with contextlib.suppress(OSError):
        Path(path).unlink()


def port_text(host: str, port: int) -> str:
    """Host and port as in a URL: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def port_taken(what: str, host: str, port: int, error: OSError | RuntimeError) -> StartError:
    """Why a port can't be opened, in one line."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    advice = "Stop the process that uses it, or choose another port."
    return StartError(f"The {what} port {port} on {host} can't be opened: {reason}. {advice}")


def path_taken(option: str, path: str, reason: str) -> StartError:
    """Why a unix socket can't be opened, in one line."""
    return StartError(f"`{option}` must be a path where a unix socket can be made. Received: {path}: {reason}.")
