"""Connect to Ray or start it: the only module that imports it, for the whole process.

A Ray started here listens only on this machine's loopback and requires a random token from clients, because it
runs any code that it receives. A Ray started elsewhere is used as configured there.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from sglr.core.errors import UsageError
from sglr.system.cores import usable_cores
from sglr.system.extras import installing, require
from sglr.system.ray_head import FIELD, ask, check_form, check_head, in_short, nobody

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""If 0, Ray uses 127.0.0.1 as this machine's address; Ray has no other option for it."""

QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Options that keep Ray from writing to the terminal and from sending usage statistics."""

OWN = {LOOPBACK: "0", "RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
"""Options for a Ray started here; by default Ray's processes run at low priority."""

HERE = "this machine"
"""How messages name the address of a Ray that is started here."""

ENDING_SECONDS = 10.0
"""Seconds to wait for Ray's processes to end."""

_ours: list[dict[str, str | None]] = []  # the environment before this process started a Ray; empty if it did not


def connect(address: str | None = None) -> Any:
    """Connect to Ray, or start it on this machine; return the module ``ray``.

    An existing connection of this process is reused.

    Parameters
    ----------
    address
        ``"auto"`` for the Ray that runs on this machine, ``HOST:PORT`` of a cluster of which this machine is a part;
        None starts Ray here, only for this process.

    Raises
    ------
    UsageError
        If Ray is not installed or can't be imported, nothing answers at the address, or the token is refused.
    """
    if address is not None:
        check_form(address)
    require("ray", FIELD, address or HERE)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if address is None and not _connected():
        _ours.append(_set({**OWN, "RAY_AUTH_TOKEN": secrets.token_hex(32)}))
    try:
        ray = _import(address)
        if not ray.is_initialized():
            _start(ray) if address is None else _join(ray, address)
    except BaseException:
        _put_back()
        raise
    return ray


def disconnect() -> None:
    """Disconnect from Ray, and stop a Ray that this process started. Does nothing without Ray."""
    if _connected():
        ray = sys.modules["ray"]
        began = _processes(ray)
        # If the cluster is gone, Ray logs errors about messages that it can't send.
        with contextlib.suppress(Exception):
            ray.shutdown()
        for process in began:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_SECONDS)  # Ray terminates them without waiting
    _put_back()


def _processes(ray: Any) -> list[subprocess.Popen[bytes]]:
    """Return the processes of the Ray that this process started."""
    node = ray._private.worker._global_node
    return [one.process for kind in (node.all_processes.values() if node else ()) for one in kind]


def started_here() -> bool:
    """Return whether this process started the Ray that it is connected to."""
    return bool(_ours) and _connected()


def reachable() -> bool:
    """Return whether the cluster's head still answers."""
    if not _connected():
        return False
    ray = sys.modules["ray"]
    return ask(ray, ray.get_runtime_context().gcs_address) is None


def _connected() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _import(address: str | None) -> Any:
    """Import Ray, for the first time or again."""
    shown = address or HERE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("ray")
    except Exception as error:  # a broken installation may raise anything
        raise _broken(shown, error) from error


def _broken(shown: str, error: Exception) -> UsageError:
    reason = f"Ray can't be imported ({type(error).__name__}: {in_short(str(error))})"
    return UsageError(FIELD, shown, reason, f"reinstall it: {installing('ray')} --force-reinstall")


def _start(ray: Any) -> None:
    _take_address(ray, loopback=True)
    with _own_signals():
        try:
            ray.init(address="local", num_cpus=len(usable_cores()), include_dashboard=False, **_silent())
        except Exception as error:  # Ray raises many kinds
            remedy = "see session_latest/logs in Ray's temporary folder, or use a running cluster with --ray-address"
            raise UsageError(FIELD, HERE, f"Ray does not start ({in_short(str(error))})", remedy) from error


def _join(ray: Any, address: str) -> None:
    _take_address(ray, loopback=False)
    check_head(ray, address)
    with _own_signals():
        try:
            ray.init(address=address, **_silent())
        except Exception as error:  # Ray raises many kinds
            raise nobody(address, str(error)) from error


def _silent() -> dict[str, Any]:
    return {"log_to_driver": False, "logging_level": "error"}


def _take_address(ray: Any, *, loopback: bool) -> None:
    """Switch Ray's loopback option, which it reads on import, and clear an old token."""
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = not loopback and os.environ.get(LOOPBACK) != "0"
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's signal handlers, which Ray would replace by handlers that exit without a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _set(values: dict[str, str]) -> dict[str, str | None]:
    """Set environment variables; return their old values."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    return before


def _put_back() -> None:
    """Restore the environment of before this process started a Ray."""
    while _ours:
        for name, value in _ours.pop().items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
