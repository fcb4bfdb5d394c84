"""What is known of a setting beside its name, type and default.

A setting of an experiment is a pydantic field made by `setting`. A parameter of a part (method, data set, partition,
merge rule) is a dataclass field whose ``metadata`` holds the facts that are not the usual ones, beside ``"help"``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

Decides = Literal["result", "records", "nothing"]
Clients = Literal["take", "see", "own", "hidden"]


@dataclass(frozen=True)
class SettingFacts:
    """Facts of a setting.

    Parameters
    ----------
    panel
        Its heading in the help.
    basic
        Whether ``--help`` shows it, or only ``--help-all``.
    decides
        What depends on it. ``"result"``: the trained weights or the scores, so that it is in the fingerprint.
        ``"records"``: what else is recorded of the run, or how it runs. ``"nothing"``: neither, so that runs that
        differ in it are of one row in a comparison.
    clients
        Between sites: ``"take"``: clients take it from the server. ``"see"``: they are told it. ``"own"``: each site
        sets its own, and is not told the server's. ``"hidden"``: they are not told it. Of a data set's parameters,
        ``"take"`` is what a site may set and else takes from the server, ``"see"`` what it sets alone.
    by_run
        Of a data set's parameters: the run decides it, and no site can set it, because it decides what inputs and
        classes mean.
    build
        Whether it decides how parts are built, and so whether they can be.
    axis
        Whether it is an axis of methods: a choice that, with others, makes a method what it is, so that it may be
        written with a method, as in ``sglr:phi=1,init=independent``.
    engine
        The only engine that has this setting; others refuse it. None for no such engine.
    bare
        The value of the flag without one; None where the flag needs a value.
    since
        The version of sglr that brought it; None for what was there from the first run folders on. A later setting is
        in the fingerprint only if it is not the default, so that runs begun before it existed keep their fingerprints.
    """

    panel: str
    basic: bool = False
    decides: Decides = "result"
    clients: Clients = "see"
    by_run: bool = False
    build: bool = True
    axis: bool = False
    engine: str | None = None
    bare: str | None = None
    since: str | None = None

    def counts(self, is_default: bool) -> bool:
        """Say whether a value, the default or another, is in the fingerprint."""
        return self.decides == "result" and not (is_default and self.since is not None)

    @property
    def told(self) -> bool:
        """Whether clients between sites are told the server's value."""
        return self.clients in ("take", "see")


def setting(
    panel: str,
    default: Any,
    about: str,
    *,
    basic: bool = False,
    decides: Decides = "result",
    clients: Clients = "see",
    build: bool = True,
    axis: bool = False,
    engine: str | None = None,
    bare: str | None = None,
    since: str | None = None,
    **limits: Any,
) -> Any:
    """Return a pydantic field that is a setting: panel, default and help text, facts, and limits of its value."""
    own = {"build": build, "axis": axis, "engine": engine, "bare": bare, "since": since}
    facts = SettingFacts(panel, basic, decides, clients, **cast(dict[str, Any], own))
    return Field(default, description=about, json_schema_extra=cast(JsonDict, dataclasses.asdict(facts)), **limits)


def facts_of(field: FieldInfo) -> SettingFacts:
    """Return the facts of a field that `setting` made."""
    return SettingFacts(**cast(dict[str, Any], field.json_schema_extra))


def facts_of_parameter(field: dataclasses.Field[Any], panel: str = "") -> SettingFacts:
    """Return the facts of a part's parameter."""
    known = {entry.name for entry in dataclasses.fields(SettingFacts)} - {"panel"}
    return SettingFacts(panel, **{name: value for name, value in field.metadata.items() if name in known})
