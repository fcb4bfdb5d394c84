"""Train a run again with an attack in it: what a malicious client or server would have achieved.

Everything happens in this process, on the run's own data, and nothing is written. It simulates an attack on your own
training, and cannot attack anyone else's.
"""

from __future__ import annotations

from collections.abc import Callable

from sglr.assembly.build import build
from sglr.assembly.method import build_method
from sglr.assembly.parts import PartOverrides, Training
from sglr.assembly.without_data import located
from sglr.core.data import ClientData
from sglr.core.events import Event, Hooks
from sglr.engines.local import Local
from sglr.leakage.open_run import OpenedRun, open_run
from sglr.privacy.active import ActiveAttack, AttackOutcome, AttackSetup
from sglr.privacy.attack import AttackResult
from sglr.privacy.threat import require
from sglr.runs.config import Experiment
from sglr.runs.folder import Run


def replay(
    run: Run,
    attack: ActiveAttack,
    client: int = 0,
    *,
    attacker: str | None = None,
    seed: int | None = None,
    observe: Callable[[Event], None] = lambda _: None,
) -> AttackResult:
    """Train with the attack from the first epoch to the last, and judge it.

    Parameters
    ----------
    run
        The run without the attack, trained.
    attack
        The attack.
    client
        The client that is attacked, by its number.
    attacker
        Who attacks; the attack's own choice if None.
    seed
        Seed of the attack's random draws; the run's if None. The training has the run's in any case.
    observe
        Called with every event of the training, for progress.

    Raises
    ------
    UsageError
        If the threat model forbids what the attack needs, it does not serve the task, these data or this method are not
        fit for it, there is no such client, or the run has no checkpoint.
    SglrError
        If a defence stopped the training.
    """
    attacker = attacker or attack.attacker
    opened = open_run(run)
    clean = opened.target(client, attacker, seed)
    require(attack, attacker, attack.needs, clean.seen)
    attack.serves.require("attack", type(attack).__name__, clean.task, clean.own.targets[:1])
    setup = AttackSetup(client, len(opened.built.data.indices), clean.fresh, clean.auxiliary, clean.seed)
    built = _with_attack(located(run.experiment, run.data), attack, setup)
    built.trainer.run(Hooks(observe=observe))
    attacked = OpenedRun(run.experiment, built).target(client, attacker, seed)
    return attack.judge(AttackOutcome(setup, built.method, attacked, clean))


def _with_attack(experiment: Experiment, attack: ActiveAttack, setup: AttackSetup) -> Training:
    here = experiment.model_copy(update={"device": "cpu", "client_store": "memory"})

    def poison(data: ClientData) -> ClientData:
        return attack.poison(data, setup)

    method = attack.hijack(build_method(here), setup)
    built = build(here, PartOverrides(method=method, engine=Local, poison=poison))
    built.trainer.validation = None  # nobody chooses a best epoch: what counts is how the training ends
    return built
