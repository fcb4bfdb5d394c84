"""Measure and attack trained runs after the fact, and keep what was found in their folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sglr.assembly.parts import Training
from sglr.core.errors import UsageError
from sglr.leakage.attack_clients import Chosen, attack_clients, attack_record, choose_attack
from sglr.leakage.interpretation import read_attack, read_figures
from sglr.leakage.measure_clients import (
    MEASURES,
    PACKAGES,
    Wanted,
    activation_maps,
    measure_client,
    nested,
    over_clients,
    require_quantities,
    serves,
)
from sglr.leakage.open_run import OpenedRun, drawn_clients, open_run
from sglr.leakage.replay import replay
from sglr.privacy.active import ActiveAttack
from sglr.privacy.target import Target
from sglr.report.leakage import LEAKAGE
from sglr.report.run_report import write_run_report
from sglr.runs.folder import Run, damage_explained
from sglr.runs.new_folder import refuse_unwritable
from sglr.splitting.input_layout import InputLayout
from sglr.storage.files import write_text
from sglr.storage.json_files import read_object
from sglr.system.extras import require

CLIENTS = 3
"""Clients that are measured, drawn by the seed."""


def _silent(message: str) -> None:
    del message


@dataclass(frozen=True)
class Asked:
    """What is asked of a run.

    Parameters
    ----------
    clients
        How many clients, drawn by the seed; all of a run that has fewer.
    samples
        Samples of a client, at most; None leaves it to the measures.
    measures
        Names of measures, ``("all",)`` or ``("none",)``.
    attacks
        Attacks as they are written, such as ``"decoder:steps=500"``.
    attacker
        Who attacks; None is who does in each attack's source.
    seed
        Seed of all draws.
    """

    clients: int = CLIENTS
    samples: int | None = None
    measures: tuple[str, ...] = ("all",)
    attacks: tuple[str, ...] = ()
    attacker: str | None = None
    seed: int = 0

    def wanted(self) -> Wanted:
        """Return what is to be measured.

        Raises
        ------
        UsageError
            If a name or number is wrong.
        """
        if self.clients < 1:
            raise UsageError("clients", self.clients, "leaves no client to measure", "give 1 or more")
        everything = self.measures == ("all",)
        names = MEASURES if everything else () if self.measures == ("none",) else self.measures
        return Wanted(names, self.samples, strict=not everything or self.samples is not None)


def leak(
    run: Run | str | Path,
    *,
    clients: int = CLIENTS,
    samples: int | None = None,
    measures: Sequence[str] = ("all",),
    attacks: Sequence[str] = (),
    attacker: str | None = None,
    seed: int = 0,
    model: str | None = None,
    say: Callable[[str], None] = _silent,
) -> dict[str, Any]:
    """Measure what a trained run leaks, and attack it.

    It is written to ``leakage.json`` in the run's folder, with what was found there before under the same settings,
    and the run's report gets a section about it.

    Parameters
    ----------
    run
        The run or its folder.
    clients, samples, measures, attacks, attacker, seed
        As `Asked` takes them.
    model
        The run's ``package.module:function``, where that is code of your own that is not installed.
    say
        Told what is being done.

    Returns
    -------
    dict
        What ``leakage.json`` holds.

    Raises
    ------
    UsageError
        If the run has no checkpoint or its clients' data are elsewhere, there are too few samples, no such attack or
        measure, or the threat model forbids an attack.
    """
    asked = Asked(clients, samples, tuple(measures), tuple(attacks), attacker, seed)
    require("privacy", "measures", ",".join(measures), *PACKAGES)
    wanted, chosen = asked.wanted(), [choose_attack(spec, attacker) for spec in attacks]
    folder = run if isinstance(run, Run) else Run.open(Path(run), model)
    refuse_unwritable(folder.path, "run", "what is found is kept there: copy the run to a folder of your own")
    say(f"opening {folder.path}")
    opened = _opened(folder)
    refuse_what_does_not_cross(opened, wanted, chosen)
    refuse_what_does_not_serve(opened.built, wanted, chosen)
    return _Looking(folder, opened, asked, wanted, say).look(chosen)


def refuse_what_does_not_cross(opened: OpenedRun, wanted: Wanted, chosen: Sequence[Chosen]) -> None:
    """Refuse measures of smashed data where none are sent.

    Raises
    ------
    UsageError
        If clients hold the whole model and nothing but measures was asked for.
    """
    method = opened.built.method
    if method.whole_model and wanted.measures and (wanted.strict or not chosen):
        name = opened.experiment.method
        problem = "clients hold the whole model and send no smashed data, so that there is nothing to measure"
        remedy = "attack it instead: --measures none --attack gradient-inversion, or --attack membership"
        raise UsageError("method", name, problem, remedy)


def refuse_what_does_not_serve(built: Training, wanted: Wanted, chosen: Sequence[Chosen]) -> None:
    """Refuse attacks, and measures that were asked for by name, which do not serve the run's task.

    Raises
    ------
    UsageError
        If there is one, by its name.
    """
    example = built.data.targets.example()
    for one in chosen:
        one.attack.serves.require("attack", one.name, built.task, example)
    if wanted.strict:
        for name in wanted.measures:
            serves(name).require("measures", name, built.task, example)
            require_quantities(name, built.data.train, InputLayout.of(built.data.encoding))


@dataclass
class _Looking:
    """One look at one run."""

    run: Run
    opened: OpenedRun
    asked: Asked
    wanted: Wanted
    say: Callable[[str], None]

    def look(self, chosen: Sequence[Chosen]) -> dict[str, Any]:
        clients = drawn_clients(self.opened, self.asked.clients, self.asked.seed)
        conditions = {
            "clients": list(clients),
            "samples": self.asked.samples,
            "seed": self.asked.seed,
            "steps": self.opened.built.trainer.progress.steps,
        }
        record = _kept(self.run, conditions) or {"conditions": conditions, "attacks": []}
        if not self.opened.built.method.whole_model:
            self._measure(record, clients)
        for one in chosen:
            self._attack(record, one, clients)
        with damage_explained(self.run.path, f"delete its {LEAKAGE}, or train again"):
            record["reading"] = [*record.get("told", []), *(read_attack(attack) for attack in record["attacks"])]
            write_text(self.run.path / LEAKAGE, json.dumps(record) + "\n")
            write_run_report(self.run)
        return record

    def _measure(self, record: dict[str, Any], clients: Sequence[int]) -> None:
        done = record.get("measured", [])
        names = tuple(name for name in self.wanted.measures if name not in done)
        if not names:
            return
        wanted = Wanted(names, self.wanted.samples, self.wanted.strict)
        found = {}
        for client in clients:
            self.say(f"measuring client {client}: {', '.join(names).replace('_', ' ')}")
            found[client] = measure_client(self.target(client, "server"), wanted)
        each = [one.figures for one in found.values()]
        figures = over_clients(each)
        record["measured"] = [*done, *names]
        record["leakage"] = record.get("leakage", {}) | nested(figures)
        kept = record.setdefault("clients", {})
        for client, one in found.items():
            kept[str(client)] = kept.get(str(client), {}) | nested(one.figures)
        first = next(iter(found.values()))
        record["missing"] = record.get("missing", {}) | first.missing
        record["told"] = [
            *record.get("told", []),
            *read_figures({client: one.figures for client, one in found.items()}),
        ]
        if first.pictures:
            record["pictures"] = {"client": clients[0], **_grey(first.pictures)}
        record.setdefault("maps", self._maps(clients[0]))

    def _maps(self, client: int) -> dict[str, Any] | None:
        """Return one image that nobody trained with, and what the client sends of it."""
        target = self.target(client, "server")
        image = target.unseen.inputs[:1]
        if image.dim() != 4:
            return None
        maps = activation_maps(target.send, image)
        return {"client": client, "image": image[0].mean(0).tolist(), "maps": maps.tolist()}

    def _attack(self, record: dict[str, Any], chosen: Chosen, clients: Sequence[int]) -> None:
        same = ("attack", "options", "attacker")
        asked = {"attack": chosen.name, "options": chosen.options, "attacker": chosen.attacker}
        if any({name: one[name] for name in same} == asked for one in record["attacks"]):
            return
        self.say(f"attack {chosen.name} by the {chosen.attacker}")
        if isinstance(chosen.attack, ActiveAttack):
            # Each is a training of its own: one client tells enough.
            found = replay(self.run, chosen.attack, clients[0], attacker=chosen.attacker, seed=self.asked.seed)
            record["attacks"].append(attack_record(chosen, {clients[0]: found}))
        else:
            record["attacks"].append(attack_clients(chosen, clients, self.target))

    def target(self, client: int, attacker: str) -> Target:
        """Return a client as an attacker sees it."""
        return self.opened.target(client, attacker, self.asked.seed)


def _opened(run: Run) -> OpenedRun:
    settings = run.experiment
    for kind in ("method", "model", "dataset"):
        value = str(getattr(settings, kind))
        if value.startswith("<"):
            problem = "was given as a Python object, which is not in the run's folder"
            raise UsageError(kind, value, problem, "name it in the settings, or use sglr.leakage.open_run.open_run")
    if settings.engine == "remote":
        problem = "its clients were on other machines, which hold their data and weights"
        remedy = "measure a training with --engine local on data of the same kind"
        raise UsageError("run", run.path, problem, remedy)
    return open_run(run)


def _kept(run: Run, conditions: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what was found before under the same conditions."""
    path = run.path / LEAKAGE
    try:
        record = read_object(path)
    except ValueError as error:
        raise UsageError("run", path, f"is damaged ({error})", "delete that file") from error
    return record if record is not None and record.get("conditions") == dict(conditions) else None


def _grey(pictures: Mapping[str, Tensor]) -> dict[str, Any]:
    return {title: images.mean(1).tolist() for title, images in pictures.items()}
