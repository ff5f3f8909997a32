"""The connection to a Ray cluster that runs already; none is ever started here."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from flexlora.errors import UsageError

CONNECT_S = 5.0
"""How long the head node may take to answer at all; Ray itself would try for ten minutes."""
REMEDY = (
    "Start one with `ray start --head` on one machine and `ray start --address=HEAD:6379` on each other, and run this "
    "on one of them; RAY_ADDRESS=HEAD:6379 names a cluster where there are several."
)

_lock = threading.Lock()
_users = 0
"""Pools that use a connection of ours; the last one ends it."""


def import_ray() -> Any:
    """The library, or a UsageError that says how to get it."""
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"The executor `ray` needs the package ray, which cannot be imported ({error}): pip install 'flexlora[ray]'"
        ) from error
    return ray


def connect() -> Callable[[], None]:
    """Connect to the cluster that RAY_ADDRESS names, else to the one on this machine; one that the caller has is used.

    Returns:
        What ends the connection again, unless it is the caller's.

    Raises:
        UsageError: there is no cluster, or it cannot be joined; holds Ray's own words.
    """
    global _users
    ray = import_ray()
    with _lock:
        if ray.is_initialized() and _users == 0:
            return lambda: None
        if _users == 0:
            _initialize(ray, os.environ.get("RAY_ADDRESS") or "auto")
        _users += 1
    return _leave


def _initialize(ray: Any, address: str) -> None:
    if address == "local" or "://" in address:
        raise UsageError(f"RAY_ADDRESS={address} must be HOST:PORT of a cluster that this machine is in. {REMEDY}")
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdecimal():
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
        # Below an error, Ray tells what every user of it would see: that it connects, to where, from which thread.
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:  # ConnectionError is an OSError
        where = "on this machine" if address == "auto" else f"at RAY_ADDRESS={address}"
        raise UsageError(f"No Ray cluster can be used {where} ({error}). {REMEDY}") from error


def _leave() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            import_ray().shutdown()
