"""Where the web view is served."""

from __future__ import annotations

import socket

from legged_ppo.errors import ConfigError

LOCAL, PORT = "127.0.0.1", 8080
"""The default: for browsers on this machine alone."""


def check_address(host: str, port: int) -> None:
    """Refuse an address that is taken, before seconds of work; viser would take the next port.

    Raises:
        ConfigError: no such host on this machine, or the port is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
    except OSError:
        raise ConfigError("--host", host, "an address of this machine, such as 127.0.0.1") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            if "in use" in reason or "permission" in reason:
                raise port_in_use(port, reason) from None
            raise ConfigError("--host", host, f"an address of this machine ({reason})") from None


def port_in_use(port: int, reason: str = "address already in use") -> ConfigError:
    """The error for a port that cannot be served at."""
    return ConfigError("--port", port, f"a port that is free ({reason}), such as --port {port + 1}")
