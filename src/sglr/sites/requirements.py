"""What a site requires of a run before it takes part, and what will leave the site."""

from __future__ import annotations

from dataclasses import dataclass

from sglr.assembly.method import build_method
from sglr.core.errors import UsageError
from sglr.parties.defences import parse
from sglr.runs.config import USUAL_TASK, Experiment


@dataclass(frozen=True)
class SiteRequirements:
    """What a run must do for this site to take part.

    Parameters
    ----------
    defence
        Defences with options, as for ``--defence``; ``"none"`` requires none. What a client does itself (``clip``,
        ``noise``, ``quantize``, ``nopeek``, ``scrutiny``) is then done by this site's own code; what is done where the
        labels are (``max-norm``, ``marvell``) is the server's promise unless they are here.
    keep_labels
        True if labels must not leave this site. In federated learning it then scores its held-out samples itself.

    Raises
    ------
    UsageError
        If there is no such defence.
    """

    defence: str = "none"
    keep_labels: bool = False

    def __post_init__(self) -> None:
        """Refuse defences that don't exist, before the server is asked."""
        parse(self.defence)

    def check(self, experiment: Experiment) -> None:
        """Refuse a run that does not do it.

        Raises
        ------
        UsageError
            If a defence is missing or has other options, or labels would be sent.
        """
        there = dict(parse(experiment.defence).named)
        for name, wanted in parse(self.defence).named:
            if there.get(name) != wanted:
                problem = f"the run's defence is {experiment.defence!r}"
                remedy = "ask its operator for a run with yours, or require another"
                raise UsageError("require-defence", self.defence, problem, remedy)
        if self.keep_labels and experiment.tail is None and not build_method(experiment).whole_model:
            remedy = "ask its operator for a run with --tail, or leave this out"
            raise UsageError("keep-labels", "true", "labels would go to the server of this run", remedy)


def what_leaves(experiment: Experiment, requirements: SiteRequirements) -> str:
    """Say what goes from a client to the server, for whoever decides whether it may."""
    if build_method(experiment).whole_model:
        if requirements.keep_labels:
            scores = "" if experiment.task in ("auto", USUAL_TASK) else "scores, and "
            sums = f"{scores}sums of losses and of correct predictions on held-out samples"
            return f"weights go to the server, and {sums}; labels stay here"
        return "weights go to the server, and outputs and labels of held-out samples; those of training samples do not"
    defended = "" if experiment.defence == "none" else f" (defence {experiment.defence})"
    if experiment.tail is None:
        what = "targets" if experiment.task not in ("auto", USUAL_TASK) else "labels"
        return f"smashed data{defended} and {what} go to the server"
    told = "" if experiment.task in ("auto", USUAL_TASK) else "scores of held-out samples are told; "
    return f"smashed data{defended} go to the server; {told}labels stay here"
