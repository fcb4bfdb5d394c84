"""The one training loop: epochs, cohorts, steps, merges, evaluation and checkpoints, for every method and engine.

It joins a `Method` (what is exchanged) with an `Engine` (where clients live) and knows neither's insides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.data import Samples
from sglr.core.engine import Engine
from sglr.core.errors import DivergedError, ExtremeValues, Interrupted
from sglr.core.events import EpochDone, Hooks, LateValidation, StepDone, step_traffic, weights_traffic
from sglr.core.merging.weight_sharing import WeightSharing
from sglr.core.method import Method
from sglr.core.plan import Progress, Rates, TrainingPlan, weigh_alike
from sglr.core.random import generator, key, seed_layers
from sglr.core.scores import Scores
from sglr.core.server_protocol import Server
from sglr.core.types import StepContext
from sglr.core.weights import Weights, below


@dataclass
class Trainer:
    """One training: a method, an engine, a server and a plan.

    Parameters
    ----------
    method, engine, server, plan
        The parts.
    sharing
        The weights that clients share, where the method shares them.
    validation
        Samples that choose the best epoch, or None.
    hooks
        What happens beside training.
    memory
        What the method keeps between steps: see `StepContext.memory`.
    """

    method: Method
    engine: Engine
    server: Server
    plan: TrainingPlan
    sharing: WeightSharing
    validation: Samples | None = None
    hooks: Hooks = field(default_factory=Hooks)
    progress: Progress = field(default_factory=Progress)
    memory: dict[str, Tensor] = field(default_factory=dict)
    _end: Progress | None = field(default=None, init=False)
    _cohorts: tuple[int, Sequence[tuple[int, ...]]] = field(default=(-1, ()), init=False)
    _staleness: Callable[[int], Mapping[int, float]] = field(default=weigh_alike, init=False)

    @property
    def sizes(self) -> Sequence[int]:
        """|D_i| of every client, as the engine knows it by now."""
        return self.engine.sizes

    @property
    def shared(self) -> Weights:
        """The weights that clients share; empty where they share none."""
        return self.sharing.weights

    @property
    def cuts(self) -> ClientCuts | None:
        """Which client is cut where; None where all are cut at one place."""
        return self.sharing.cuts

    def run(self, hooks: Hooks | None = None) -> None:
        """Train from where `progress` stands to the end.

        Parameters
        ----------
        hooks
            What happens beside training; by default those that it was made with.

        Raises
        ------
        DivergedError
            If the loss stops being a number.
        Interrupted
            If the user asked to stop, after a checkpoint.
        """
        self.hooks = hooks or self.hooks
        self.sharing.begin()
        self._end = None
        while not self.over:
            try:
                self._epoch()
            except ExtremeValues as error:
                where = f"epoch {self.progress.epoch + 1}, step {self.progress.epoch_steps + 1}"
                raise self._diverged(f"the loss stopped being a number in {where}: {error}") from error
        self._end = replace(self.progress, stopped=self.plan.why_ended(self.progress))

    @property
    def over(self) -> bool:
        """True if all epochs are over, or the training was ended before; that waits for the end of a round."""
        return self._ends_before(self.progress.epoch)

    def _ends_before(self, epoch: int) -> bool:
        ended = bool(self.plan.why_ended(self.progress))
        return epoch >= self.plan.epochs or (ended and self.method.begins_round(epoch))

    @property
    def epochs(self) -> int:
        """Epochs of the training: those of the plan, or fewer where it has ended before, whatever is restored since."""
        return self.plan.epochs if self._end is None else self._end.epoch

    @property
    def stopped(self) -> str:
        """Why the training ended before its last epoch; empty if it did not."""
        return self._end.stopped if self._end is not None and self.epochs < self.plan.epochs else ""

    def participants(self, epoch: int) -> tuple[int, ...]:
        """Return the clients that take part in the epoch's round, ascending."""
        return self.plan.drawn(self.sizes, self.method.round_of(epoch))

    def cohorts(self, epoch: int) -> Sequence[tuple[int, ...]]:
        """Return which clients step together in an epoch, in their order."""
        return self._cohorts[1] if self._cohorts[0] == epoch else self._draw_cohorts(epoch)

    def _draw_cohorts(self, epoch: int) -> Sequence[tuple[int, ...]]:
        return self.method.cohorts(self.participants(epoch), generator(self.plan.seed, "cohorts", epoch))

    def took_part(self) -> set[int]:
        """Return the clients that took part in any epoch so far."""
        epochs = range(self.progress.epoch + (not self.over))
        rounds = [epoch for epoch in epochs if self.method.begins_round(epoch)]
        return {client for epoch in rounds for client in self.participants(epoch)}

    def _epoch(self) -> None:
        progress, epoch = self.progress, self.progress.epoch
        if progress.cohort == progress.step == 0:
            self.server.restart_metrics()
        cohorts = self._draw_cohorts(epoch)
        self._cohorts = epoch, cohorts
        for number in range(progress.cohort, len(cohorts)):
            self._cohort(cohorts[number], len(cohorts))
            progress.cohort, progress.step = number + 1, 0
        self._end_epoch()

    def _cohort(self, cohort: tuple[int, ...], cohorts: int) -> None:
        """Take the cohort through its data once, from the step where `progress` stands."""
        plan, progress = self.plan, self.progress
        begins = progress.step == 0 and self.method.begins_round(progress.epoch)
        if self.method.shares and begins:
            self.sharing.send(cohort, self.hooks.observe)
        if begins:
            self._hand_out(cohort)
        steps = self.engine.begin_epoch(cohort, progress.epoch, fresh=begins and plan.fresh_optimizers)
        sizes = [self.sizes[client] for client in cohort]
        self._staleness = plan.batches.staleness(sizes, plan.seed, progress.epoch, cohort)
        if progress.steps == 0 and steps > 0:
            self.method.check_steps(steps)  # where clients tell how many samples they have, it was not known before
        if self.method.whole_model and progress.step == 0 and steps > 0:
            self._train_locally(cohort, steps, cohorts)
        while progress.step < steps:
            started = time.perf_counter()
            rates = self._rates(progress.step, steps, cohorts)
            sends = self.method.sends(progress.step)
            context = self._context(progress.step, steps, rates.server, len(cohort))
            samples = self._step(cohort, context, rates.clients)
            self._took(1, samples, time.perf_counter() - started, steps * cohorts, sends=sends)
            self._between_steps()

    def _rates(self, step: int, steps: int, cohorts: int) -> Rates:
        """Return the rates of a step of the cohort that is at work, one of ``cohorts`` in the epoch."""
        return self.plan.rates(self.progress, (self.progress.cohort + (step + 1) / steps) / cohorts)

    def _context(self, step: int, steps: int, rate: float, at_work: int) -> StepContext:
        plan, progress = self.plan, self.progress
        rng = generator(plan.seed, "step", progress.epoch, progress.cohort, step)
        place = progress.epoch, plan.epochs, step, steps, rng, progress.epoch_steps, rate
        of_run = True, self.sizes, at_work, self.memory, plan.batches.unequal
        context = StepContext(*place, *of_run, self._staleness(step))
        # What is merged must not lack gradients that were kept.
        updates = (step + 1) % plan.accumulate == 0 or context.ends_epoch or self.method.merges(context)
        return context if updates else replace(context, updates=False)

    def _took(self, steps: int, samples: int, seconds: float, of_epoch: int, *, sends: bool = True) -> None:
        """Count steps that are over."""
        progress = self.progress
        progress.took(steps, samples, seconds)
        self.hooks.observe(StepDone(progress.epoch, self.plan.epochs, progress.epoch_steps, of_epoch, samples, sends))

    def _train_locally(self, cohort: tuple[int, ...], steps: int, cohorts: int) -> None:
        """Let clients that hold the whole model pass over their data by themselves, where the engine can."""
        started = time.perf_counter()
        rates = [self._rates(step, steps, cohorts) for step in range(steps)]
        context = self._context(steps - 1, steps, rates[-1].server, len(cohort))
        merges = self.method.merges(context)
        tally = self.engine.train_locally([rate.clients for rate in rates], merges=merges)
        if tally is None:
            return
        self.server.add_metrics(tally)
        if merges:
            self._merge(cohort, context)
        self._took(steps, tally.samples, time.perf_counter() - started, steps * cohorts)
        self._between_steps()

    def _step(self, cohort: tuple[int, ...], context: StepContext, rate: float) -> int:
        """Take one step of Algorithm 1, and merge when the method says so; return the number of samples."""
        seed_layers(key(self.plan.seed, "layers", context.epoch, self.progress.cohort, context.step))
        sends = self.method.sends(context.step)
        samples = self._exchange(context, rate) if sends else self.engine.step_alone(context.step, rate)
        if self.method.merges(context):
            self._merge(cohort, context)
        return samples

    def _merge(self, cohort: tuple[int, ...], context: StepContext) -> None:
        self.sharing.merge(cohort, context, self.hooks.observe)
        self.progress.changed = True

    def _exchange(self, context: StepContext, rate: float) -> int:
        uplink = self.engine.forward(context.step)
        if uplink is None:
            return 0
        # What a checkpoint brings is on the host.
        self.memory.update({name: one.to(uplink.smashed.device) for name, one in self.memory.items()})
        downlink = self.method.exchange(self.server, uplink, context)
        told = downlink if context.updates else downlink._replace(updates=False)
        self.engine.backward(told, rate * downlink.rate_factor)
        if not self.method.whole_model:
            for traffic in step_traffic(uplink, downlink, self.engine.codec, self.server.features):
                self.hooks.observe(traffic)
        return sum(uplink.sizes)

    def _hand_out(self, cohort: tuple[int, ...]) -> None:
        """Send clients of the cohort what the method gives each of them before a round."""
        started = time.perf_counter()
        given = self.method.hand_out(self.server, cohort, self.progress.epoch)
        self.progress.seconds += time.perf_counter() - started
        if given is not None and given.clients:
            told = self.engine.give(given.weights, given.clients)
            each = {name: tensor[0] for name, tensor in given.weights.items()}
            self.hooks.observe(weights_traffic(each, told, up=False, alike=False))

    def _between_steps(self) -> None:
        progress, plan = self.progress, self.plan
        stop = self.hooks.stop()
        due = plan.checkpoint_every > 0 and progress.steps % plan.checkpoint_every == 0
        if stop or due or progress.steps % plan.check_every == 0:
            self._check_loss()
        if stop or due:
            self.hooks.save(False)
        if stop:
            raise Interrupted(f"stopped in epoch {progress.epoch + 1} after step {progress.epoch_steps}")

    def _check_loss(self) -> None:
        bad = self.server.bad_step()
        if bad is not None:
            raise self._diverged(f"the loss stopped being a number in epoch {self.progress.epoch + 1}, step {bad + 1}")

    def refuse_bad_weights(self, tensors: Weights) -> None:
        """Raise DivergedError if a checkpoint of ``tensors`` is one that the next step could not go on from."""
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise self._diverged(f"the weights stopped being numbers after {self.progress.steps} steps")

    def _diverged(self, what: str) -> DivergedError:
        plan = self.plan
        rate = plan.rates(self.progress).clients
        told = f"{what} (method {self.method}, clients' rate {rate:g}, server's rate {self.server.last_rate:g})"
        return DivergedError(f"{told}; lower the rate or alpha, or clip gradients", self.hooks.last_checkpoint())

    def _end_epoch(self) -> None:
        """Validate, report, and go to the next epoch with a checkpoint."""
        progress, plan = self.progress, self.plan
        self._check_loss()
        epoch = progress.epoch
        record: dict[str, float | int] = {"epoch": epoch + 1, **self.server.read_metrics().record()}
        record |= {"learning_rate": plan.rates(progress).clients, **progress.record()}
        progress.stopped = progress.stopped or self.hooks.ends()
        due = (epoch + 1) % plan.evaluate_every == 0 or self._ends_before(epoch + 1)
        best = due and self._validate(record)
        progress.epoch, progress.cohort, progress.step, progress.epoch_steps = epoch + 1, 0, 0, 0
        self.hooks.observe(EpochDone(epoch, plan.epochs, record))
        progress.stopped = progress.stopped or self.hooks.ends()
        if self.over and not due and self.validation is not None:
            late: dict[str, float | int] = {"epoch": epoch + 1}
            best = self._validate(late)
            self.hooks.observe(LateValidation(late))
        self.hooks.save(best)
        if self.hooks.stop() and not self.over:
            raise Interrupted(f"stopped after epoch {epoch + 1}")

    def _validate(self, record: dict[str, float | int]) -> bool:
        """Add validation scores to the record; return True if they are the best so far.

        Whole models that clients share change with a merge alone: until then their scores are those of before, which
        were judged.
        """
        if self.validation is None:
            return False
        scores, progress = self.evaluate(self.validation, self.plan.evaluate_clients), self.progress
        record |= scores.record("validation_")
        if self.method.whole_model and self.method.alike and not progress.changed:
            return False
        progress.changed = False
        return self.plan.judge(progress, int(record["epoch"]), scores.mean(self.plan.monitor), scores.mean("loss"))

    def evaluate(self, samples: Samples, most_clients: int = 0, parts: Callable[[int], int] = lambda _: 1) -> Scores:
        """Score client segments with the server's; every client's, or ``most_clients`` drawn by the seed.

        ``parts`` gives, by the number of clients that are scored, of how many parts of the samples sums are kept apart.

        Clients that never take part, for want of samples, are left out. Where segments are shared, the shared one alone
        is scored: everyone has it.

        Raises
        ------
        DivergedError
            If what clients send to be scored is not finite or too large.
        """
        try:
            return self._evaluated(samples, most_clients, parts)
        except ExtremeValues as error:
            raise self._diverged(
                f"the loss stopped being a number after {self.progress.steps} steps: {error}"
            ) from error

    def _evaluated(self, samples: Samples, most_clients: int, parts: Callable[[int], int]) -> Scores:
        if self.method.alike:
            # Absent clients hold older weights; whoever merged last holds the shared ones.
            last = self.participants(min(self.progress.epoch, self.plan.epochs - 1))[0]
            return self.engine.evaluate(self.server.segment, samples, (last,), self.shared, parts(1))
        chosen = self.plan.scored(self.sizes, most_clients)
        return self.engine.evaluate(self.server.segment, samples, chosen, parts=parts(len(chosen)))

    def state(self, best: bool = False) -> dict[str, Tensor]:
        """Return all tensors that a checkpoint needs; ``best`` if it holds the best weights so far."""
        tensors = {f"clients.{name}": tensor for name, tensor in self.engine.state(best).items()}
        tensors |= {f"server.{name}": tensor for name, tensor in self.server.state().items()}
        tensors |= self.sharing.state()
        return tensors | {f"method.{name}": tensor for name, tensor in self.memory.items()}

    def restore(self, tensors: Weights, progress: Progress) -> None:
        """Take up a checkpoint."""
        self.engine.restore(below("clients.", tensors))
        self.server.restore(below("server.", tensors))
        self.sharing.restore(tensors)
        self.memory = {name: tensor.clone() for name, tensor in below("method.", tensors).items()}
        self.progress = progress
