"""Callbacks: the user's own code, called while a run trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sglr.core.errors import SglrError, UsageError
from sglr.core.events import StepDone
from sglr.inference.run import Run


class StopTraining(Exception):  # noqa: N818 - says what is asked for
    """Raised in a callback to end the training after the epoch that is under way; its text is the reason."""


class CallbackError(SglrError):
    """A callback raised an error: the run stopped with a checkpoint, and can be resumed."""


class Callback:
    """The user's own code, called while a run trains: derive from it, and override what you need.

    Raise `StopTraining` in ``on_step`` or ``on_epoch`` to end the training after the epoch, which is validated as any
    last one: the run is then tested, and finished. Any other error stops the run after a checkpoint, with an error that
    names the callback.

    Examples
    --------
    >>> import sglr
    >>> class GoodEnough(sglr.Callback):
    ...     def on_epoch(self, record):
    ...         if record["loss"] < 0.1:
    ...             raise sglr.StopTraining("the loss is below 0.1")
    >>> run = sglr.train("psl", epochs=100, callbacks=[GoodEnough()])  # doctest: +SKIP
    """

    def on_train_start(self, run: Run) -> None:
        """Called before the first step, and again when a run is resumed."""

    def on_step(self, step: StepDone) -> None:
        """Called after every step; of clients that train alone (FL between sites), once an epoch."""

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """Called after every epoch with its record: what ``metrics.jsonl`` holds of it."""

    def on_train_end(self, run: Run) -> None:
        """Called when the run is finished, with ``run.summary``; not if it was interrupted or diverged."""


class Callbacks:
    """Calls the callbacks of a run, in their order.

    Parameters
    ----------
    callbacks
        The callbacks.

    Attributes
    ----------
    reason
        Why one of them ended the training; empty if none did.
    error
        The first error in one of them, after which none is called.

    Raises
    ------
    UsageError
        If one is not a `Callback`.
    """

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        for one in callbacks:
            if not isinstance(one, Callback):
                problem = "is not an object of a class that derives from sglr.Callback"
                raise UsageError("callbacks", repr(one), problem, "give callbacks=[MyCallback()]")
        self._callbacks = tuple(callbacks)
        self.reason = ""
        self.error: CallbackError | None = None

    def begin(self, run: Run) -> None:
        """Tell them that training begins."""
        self._call("on_train_start", run)
        self.check(run)

    def step(self, event: StepDone) -> None:
        """Tell them that a step is over."""
        self._call("on_step", event)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Tell them that an epoch is over."""
        self._call("on_epoch", record)

    def end(self, run: Run) -> None:
        """Tell them that the run is finished."""
        self._call("on_train_end", run)
        self.check(run)

    def check(self, run: Run) -> None:
        """Raise the error of a callback, if there was one, and tell how the run goes on.

        Raises
        ------
        CallbackError
            It names the callback.
        """
        if self.error is not None:
            ahead = f"continue with: sglr resume {run.path}" if run.summary is None else "the run is finished"
            raise CallbackError(f"{self.error}; {ahead}") from self.error.__cause__

    def _call(self, name: str, told: Any) -> None:
        for callback in self._callbacks if self.error is None else ():
            who = f"callback {type(callback).__name__}"
            try:
                getattr(callback, name)(told)
            except StopTraining as asked:
                self.reason = self.reason or f"{who}: {' '.join(str(asked).split()) or 'it asked to stop'}"
            except Exception as error:  # the user's code may raise anything
                found = f"{type(error).__name__}: {' '.join(str(error).split())}"
                self.error = CallbackError(f"{who} failed in {name} ({found})")
                self.error.__cause__ = error
                return
