"""Connect a site to a server of predictions: who the site is, what the run is, and the client's layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from sglr.assembly.method import build_method
from sglr.assembly.task import named_task
from sglr.compression.error_feedback import parse as parse_codec
from sglr.core.errors import SglrError, UsageError
from sglr.core.task import Task
from sglr.engines.remote.client.predictions import PredictionTerms, ServerSegment
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.segment_hash import features_of
from sglr.engines.remote.trust.connection import check_timeout
from sglr.engines.remote.trust.identity import Identity
from sglr.parties.defences import parse as parse_defences
from sglr.parties.packed_codec import packed_codec
from sglr.runs.config import Experiment
from sglr.sites.build_client import own_experiment, own_segments
from sglr.sites.client_weights import SiteOfRun, WeightSource
from sglr.sites.join import ask_description, folders
from sglr.sites.requirements import SiteRequirements
from sglr.sites.site_network import SiteNetwork
from sglr.splitting import HeadedSegment, crossing_of, parts_of
from sglr.splitting.segment_weights import load_state
from sglr.system.device import pick_device


@dataclass(frozen=True)
class SiteOptions:
    """The settings of a site that predicts.

    Parameters
    ----------
    weights
        Where the weights of its layers are, if the user says so.
    model, task
        ``package.module:name`` of the site's own code, if the run's model or task is that.
    device
        Where its layers are computed.
    seconds
        The deadline of a request.
    requirements
        What it requires of the run.

    Raises
    ------
    UsageError
        If the deadline is no time.
    """

    weights: WeightSource = field(default_factory=WeightSource)
    model: str | None = None
    task: str | None = None
    device: str = "auto"
    seconds: float = 30.0
    requirements: SiteRequirements = field(default_factory=SiteRequirements)

    def __post_init__(self) -> None:
        """Refuse a deadline that nobody can meet."""
        check_timeout(self.seconds)


def connect(
    address: str,
    token: str | None,
    folder: Path | None,
    options: SiteOptions,
    say: Callable[[str], None] = lambda _: None,
) -> SiteNetwork:
    """Return the network of a run: the client's layers here, and the server's at ``address``.

    Parameters
    ----------
    address
        ``HOST:PORT`` of the server.
    token
        A join token that was not used yet; None if the folder holds an identity.
    folder
        The site's folder, as ``--out`` of ``sglr join``; None is ``sites/<the token's id>``.
    options
        The settings of the site.
    say
        Called with messages for the user.

    Raises
    ------
    UsageError
        If a token, a setting, a file or the model is wrong.
    Untrusted
        If it is another server, or it refuses this site.
    SglrError
        If the server does not answer, or trains.
    """
    if token is None and folder is None:
        problem = "the server answers only clients that have joined"
        raise UsageError("folder", "none", problem, "give your folder as a client with --folder, or a --token")
    place = folders([] if token is None else [token], folder)[0]
    identity = Identity.open(place) if token is None else Identity.enrol(address, token, place)
    description = ask_description(address, identity)
    if not description.served:
        raise SglrError(f"the server at {address} trains and answers no predictions: sglr serve RUN --predict does")
    experiment = own_experiment(description, options.model, options.task)
    options.requirements.check(experiment)
    method = build_method(experiment)
    alike = method.alike and not method.keeps_head
    site = SiteOfRun(identity.client, place, description, alike, options.model, options.task)
    return _network(ServerAt(address, identity, say), site, experiment, options)


@dataclass(frozen=True)
class ServerAt:
    """A server, and who asks it; ``say`` is called with messages for the user."""

    address: str
    identity: Identity
    say: Callable[[str], None]


def _network(at: ServerAt, site: SiteOfRun, experiment: Experiment, options: SiteOptions) -> SiteNetwork:
    description = site.description
    segment = own_segments(description, experiment)(0)
    task = named_task(experiment)
    terms = _terms(description, experiment, segment, task, options.seconds)
    server = ServerSegment(at.identity, at.address, terms, at.say)
    weights, whose = site.weights(options.weights, segment, server)
    load_state(segment, weights)
    device = pick_device(options.device)
    lower, tail = parts_of(segment.to(device).eval())
    defences = parse_defences(experiment.defence, experiment.seed).over(crossing_of(segment))
    # What else may be behind smashed data is a decoder of inputs.
    headed = build_method(experiment).head
    return SiteNetwork(
        description,
        site.client,
        lower,
        tail,
        server,
        terms.most,
        defences,
        task,
        device,
        whose,
        experiment.seed,
        head=segment.head if headed and isinstance(segment, HeadedSegment) else None,
    )


def _terms(
    description: RunDescription, experiment: Experiment, segment: nn.Module, task: Task, seconds: float
) -> PredictionTerms:
    features, codec = features_of(segment), packed_codec(parse_codec(experiment.compression), crossing_of(segment))
    answer = task.output_shape(description.targets) if features is None else features
    return PredictionTerms(codec, description.cut_shape, tuple(answer), seconds)
