"""Ray, reached or started: the only place that imports it for the whole process.

A Ray that starts here listens on this machine's loopback alone and wants a random token of whoever connects, because it
runs any code that it is sent. One that was started elsewhere is joined as it is.
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
from sglr.system.ray_head import FIELD, ask, check_form, check_head, in_short, nobody

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Set to 0 it makes Ray take 127.0.0.1 for this machine's address; Ray has no other switch for it."""

QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""What keeps Ray from writing to the terminal, and to its makers."""

OWN = {LOOPBACK: "0", "RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
"""What a Ray that starts here is told; by default its processes give way to all others of the machine."""

ENDING_SECONDS = 10.0
"""How long Ray's processes are waited for when it ends."""

_ours: list[dict[str, str | None]] = []  # what the environment held before this process started a Ray; empty if none


def connect(address: str | None = None) -> Any:
    """Reach Ray, or start it on this machine; return the module ``ray``.

    A Ray that this process is connected to already is used again.

    Parameters
    ----------
    address
        ``"auto"`` for the Ray that runs on this machine, ``HOST:PORT`` of a cluster of which this machine is a part;
        None starts Ray here, for this process alone.

    Raises
    ------
    UsageError
        If Ray is not installed or can't be imported, or if nobody answers at the address or refuses the token.
    """
    if address is not None:
        check_form(address)
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
    """Leave Ray; one that this process started ends. Does nothing where there is no Ray."""
    if _connected():
        ray = sys.modules["ray"]
        began = _processes(ray)
        # A cluster that is gone makes Ray complain of what it can't tell it any more.
        with contextlib.suppress(Exception):
            ray.shutdown()
        for process in began:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_SECONDS)  # Ray ends them without waiting for the end
    _put_back()


def _processes(ray: Any) -> list[subprocess.Popen[bytes]]:
    """Return the processes of a Ray that this process started."""
    node = ray._private.worker._global_node
    return [one.process for kind in (node.all_processes.values() if node else ()) for one in kind]


def started_here() -> bool:
    """Say whether this process started the Ray that it is connected to."""
    return bool(_ours) and _connected()


def reachable() -> bool:
    """Say whether the cluster's head still answers."""
    if not _connected():
        return False
    ray = sys.modules["ray"]
    return ask(ray, ray.get_runtime_context().gcs_address) is None


def _connected() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _import(address: str | None) -> Any:
    """Import Ray, for the first time or again."""
    shown = address or "this machine"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        if error.name == "ray":
            raise UsageError(FIELD, shown, "Ray is not installed", "pip install 'sglr[ray]'") from error
        raise _broken(shown, error) from error
    except Exception as error:  # a broken installation may raise anything
        raise _broken(shown, error) from error


def _broken(shown: str, error: Exception) -> UsageError:
    reason = f"Ray can't be imported ({type(error).__name__}: {in_short(str(error))})"
    return UsageError(FIELD, shown, reason, "install it anew: pip install --force-reinstall 'sglr[ray]'")


def _start(ray: Any) -> None:
    _take_address(ray, loopback=True)
    with _own_signals():
        try:
            ray.init(address="local", num_cpus=_processors(), include_dashboard=False, **_silent())
        except Exception as error:  # Ray raises many kinds
            remedy = "see session_latest/logs in Ray's temporary folder, or join one that runs with --ray-address"
            raise UsageError(FIELD, "this machine", f"Ray does not start ({in_short(str(error))})", remedy) from error


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
    """Have Ray use loopback, or not, although it read the environment when it was imported; forget an old token."""
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = not loopback and os.environ.get(LOOPBACK) != "0"
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's answers to signals, which Ray would replace by an end without a checkpoint."""
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
    """Set environment variables; return what they were."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    return before


def _put_back() -> None:
    """Give the environment back what it held before this process started a Ray."""
    while _ours:
        for name, value in _ours.pop().items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
