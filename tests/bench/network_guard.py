"""Forbids this process every connection that leaves the machine."""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Any

LOCAL_NAMES = frozenset({"", "localhost", "localhost.localdomain", "ip6-localhost", "0.0.0.0", "::"})


class NetworkForbidden(RuntimeError):
    """A test reached for a host that is not this machine."""


class NetworkGuard:
    """An audit hook that raises on the way out, and remembers it for callers that swallow errors."""

    def __init__(self) -> None:
        self.attempts: list[str] = []

    def install(self) -> None:
        """Start guarding; audit hooks stay until the process ends."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in {"socket.connect", "socket.sendto"}:
            sock, address = arguments
            if sock.family in {socket.AF_INET, socket.AF_INET6} and not is_local(address[0]):
                self._refuse(f"{event} to {address}")
        elif event == "socket.getaddrinfo" and not is_local(arguments[0]):
            self._refuse(f"lookup of {arguments[0]!r}")

    def _refuse(self, what: str) -> None:
        self.attempts.append(what)
        raise NetworkForbidden(f"{what}: tests stay on this machine")


def is_local(host: str | bytes | None) -> bool:
    """Whether a host means this machine, judged without asking anybody."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host or ""
    if name.lower() in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False
