"""Whether clients run stacked, looped or in threads: decided by a short measurement, which this machine remembers.

A choice is remembered because it changes the last bits of a result: two equal runs on one machine shall be equal. For
the same reason a run records its choice, and goes on with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sglr.stacking.passes import run_backward, run_forward
from sglr.stacking.stack import LOOPED, Stack
from sglr.system.cache import recall, remember
from sglr.system.machine import processor_name

SWITCH = "SGLR_TUNING"
"""Environment variable: ``off`` takes clients stacked wherever that is possible, without a measurement."""

ROWS = 32
"""Most clients that a measurement runs; beyond, time per client hardly changes."""

ROUNDS, ENOUGH = 3, 0.5
"""Rounds of a measurement, the fastest of which counts; and the seconds after which no further one begins."""

KNOWN = frozenset({"sglr", "timm", "torch", "torchvision"})
"""Packages whose modules keep nothing of a pass but in weights and buffers."""

WORTH = 0.95
"""What a form must take, of the time of the one before it, to be preferred: less is noise."""


def best_form(stack: Stack, batch: Callable[[bool], Tensor]) -> str:
    """Return the form in which a stack's rows run fastest here, as `sglr.stacking.stack.Stack.run_as` takes it.

    Parameters
    ----------
    stack
        It is as before afterwards, and so are torch's random generators.
    batch
        Gives inputs ``[n, b, ...]`` of the first n rows, laid out for stacked rows or for looped ones.
    """
    forms = _forms(stack)
    if os.environ.get(SWITCH) == "off" or stack.runner.precision.compiled:
        return forms[0]  # compiling every form to compare them takes longer than most trainings
    if torch.get_num_threads() > 1 and stack.device.type == "cpu" and _is_known(stack):
        forms += [] if draws_random_numbers(stack, batch(False)) else ["parallel"]
    if len(forms) == 1:
        return forms[0]
    about = _about(stack, batch(stack.stacked), forms)
    known = recall("stacking", about)
    if known is not None and known.get("form") in forms:
        return str(known["form"])
    seconds = measure(stack, batch, forms)
    chosen = forms[0]
    for form in forms[1:]:
        chosen = form if seconds[form] < WORTH * seconds[chosen] else chosen
    found = str(remember("stacking", about, {"form": chosen, "seconds": seconds}).get("form"))
    return found if found in forms else chosen


def measure(stack: Stack, batch: Callable[[bool], Tensor], forms: Sequence[str]) -> dict[str, float]:
    """Return the seconds of a forward and a backward pass of some rows in each form, leaving no trace."""
    before, best = stack.form, dict.fromkeys(forms, float("inf"))
    begun = time.perf_counter()
    with _leaving_no_trace(stack, len(batch(stack.stacked))):
        for round_ in range(ROUNDS + 1):
            for form in forms:
                stack.run_as(form)
                taken = _seconds(stack, batch(form not in LOOPED))
                # The first round pays for what is set up once, but is better than nothing.
                best[form] = taken if round_ <= 1 else min(best[form], taken)
            if time.perf_counter() - begun > ENOUGH:
                break
    stack.run_as(before)
    return best


def _forms(stack: Stack) -> list[str]:
    """Return the forms that may be fastest on the device: on CPUs, products of matrices never were.

    A stack that does not run stacked can't.
    """
    if not stack.stacked:
        return ["looped"]
    convolves = any(tensor.dim() == 5 for tensor in stack.parameters.values())
    return ["stacked", *(["matmul"] if convolves and stack.device.type == "cuda" else []), "looped"]


def _is_known(stack: Stack) -> bool:
    """Say whether a segment is made of parts that are known to run in several threads, each with a copy of it."""
    return all(type(module).__module__.partition(".")[0] in KNOWN for module in stack.template.modules())


def draws_random_numbers(stack: Stack, inputs: Tensor) -> bool:
    """Say whether a pass through a row, its tail or its head draws from torch's generator, leaving no trace.

    Parameters
    ----------
    stack
        The stack.
    inputs
        Inputs of rows ``[n, b, ...]``.
    """
    parts = [part for part in (stack.tail, stack.head) if part is not None]
    with _leaving_no_trace(stack, 1), torch.no_grad():
        before = torch.get_rng_state()
        stack.call(0, inputs[0], training=True)
        for part in parts:
            part.call(0, part.some_inputs(inputs.shape[1]), training=True)
        return not torch.equal(before, torch.get_rng_state())


def _about(stack: Stack, inputs: Tensor, forms: Sequence[str]) -> dict[str, Any]:
    on_gpu = stack.device.type == "cuda"
    return {
        "segment": repr(stack.template),
        "weights": [[name, *tensor.shape[1:]] for name, tensor in stack.parameters.items()],
        "inputs": list(inputs.shape),
        "forms": list(forms),
        "precision": stack.runner.precision.precision,
        "device": torch.cuda.get_device_name(stack.device) if on_gpu else processor_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _seconds(stack: Stack, inputs: Tensor) -> float:
    _wait(stack.device)
    started = time.perf_counter()
    forward = run_forward(stack, tuple(range(len(inputs))), inputs)
    run_backward(forward, torch.zeros_like(forward.outputs))
    _wait(stack.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _leaving_no_trace(stack: Stack, rows: int) -> Iterator[None]:
    """Put back the rows' buffers, and the state of torch's random generators."""
    chosen = tuple(range(rows))
    buffers = {name: tensor.clone() for name, tensor in stack.take(stack.buffers, chosen).items()}
    try:
        with torch.random.fork_rng([stack.device] if stack.device.type == "cuda" else []):
            yield
    finally:
        stack.put_buffers(chosen, buffers)
