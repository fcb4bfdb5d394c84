"""A plan in words: the answer, where it changes, which cut is best, and how it was counted."""

from __future__ import annotations

from collections.abc import Sequence

from sglr.planner.advice import advice
from sglr.planner.costs import BYTES_PER_MB
from sglr.planner.crossovers import OVER, Crossover
from sglr.planner.plan import SPLIT, CostPlan, CutCost
from sglr.report.numbers import clock, count, joules, operations, percent, size

VIEW_WORDS = {"broadcast": "over one shared medium", "point_to_point": "with a link for each client"}

_VERBS = {"total_mb": "sends less than", "seconds": "is faster than", "joules": "takes less energy than"}


def paragraphs(plan: CostPlan) -> dict[str, list[str]]:
    """Return what a plan says, sentences under the name of their paragraph."""
    return {
        "answer": answer(plan),
        "crossovers": crossover_sentences(plan),
        "cuts": cut_sentences(plan),
        "advice": advice(plan),
        "counted": counted(plan),
    }


def setting(plan: CostPlan) -> list[str]:
    """Say in two lines what the plan was computed from."""
    given, sizes = plan.scenario, plan.scenario.sizes
    each = count(round(sizes.samples / sizes.clients, 1))
    place = "the cut" if plan.cut is None else plan.cut
    what = "model" if plan.lora is None else f"trained with adapters ({plan.lora}): model"
    beside = f" and {megabytes(sizes.beside)} beside it" if sizes.beside else ""
    return [
        f"{count(sizes.clients)} clients with {each} samples each, φ {given.phi:g}, {_rate(plan)}",
        f"{megabytes(sizes.cut)} a sample{beside} behind {place}, {what} {megabytes(sizes.model)}, "
        f"client segment {megabytes(sizes.client)}",
    ]


def answer(plan: CostPlan) -> list[str]:
    """Say which method is cheapest, measure by measure; the first sentence is the answer."""
    sentences = [
        _sends_least(plan),
        _in_views(plan, "total_mb"),
        _in_views(plan, "seconds"),
    ]
    if "client_flops" in plan.cheapest:
        sentences.append(_computes_least(plan))
    if "joules" in plan.cheapest:
        sentences.append(_least_energy(plan))
    return sentences


def crossover_sentences(plan: CostPlan) -> list[str]:
    """Say where SGLR meets the other methods as one number changes, and where energy does."""
    wanted = [("total_mb.paper", ("sglr", "sfl")), ("total_mb.paper", ("sglr", "fl"))]
    wanted += [("total_mb.point_to_point", ("sglr", "fl")), ("joules", ("sglr", "fl"))]
    if any(cost.compute_seconds for cost in plan.methods.values()):
        wanted.append(("seconds.point_to_point", ("sglr", "fl")))
    found = ([c for c in plan.crossovers if (c.measure, c.between) == key] for key in wanted)
    return [_crossover_sentence(group, plan) for group in found if group]


def cut_sentences(plan: CostPlan) -> list[str]:
    """Say which cut is best for SGLR, measure by measure; nothing without a model."""
    if not plan.cuts:
        return []
    by_name = {entry.cut.name: entry for entry in plan.cuts}
    # Of cuts that are alike in a measure, the one that sends least.
    best = {
        measure: min((by_name[name] for name in tied), key=lambda entry: _sent(entry, SPLIT))
        for measure, tied in plan.best_cuts.items()
    }
    sentences = [
        _against_fl(plan),
        f"SGLR sends least when cut behind {_cut_facts(best['total_mb.paper'])}",
        f"A client computes least when cut behind {_cut_facts(best['client_flops'])}",
    ]
    if any(cost.compute_seconds for cost in plan.methods.values()):
        entry = best["seconds.point_to_point"]
        time = clock(entry.methods[SPLIT].views["point_to_point"].seconds)
        sentences.append(
            f"{VIEW_WORDS['point_to_point'].capitalize()} SGLR is fastest behind {entry.cut.name}: {time}."
        )
    if "joules" in best:
        energy = joules(best["joules"].methods[SPLIT].joules)
        sentences.append(f"SGLR takes least energy behind {best['joules'].cut.name}: {energy}.")
    return sentences


def counted(plan: CostPlan) -> list[str]:
    """Say what the figures hold and what they leave out."""
    given = plan.scenario
    sentences = [_time_counted(plan)]
    sentences.append(f"Sent is both ways, without {_targets(plan)}; 1 MB is 10⁶ bytes.")
    if given.sizes.beside:
        whole = megabytes(given.sizes.beside * given.sizes.samples)
        sentences.append(
            f"Masks and other integers beside what is learned add {whole} to an epoch of split methods over the medium "
            "and links; the paper's table has none."
        )
    if plan.lora is not None:
        sentences.append(
            f"In a merge a client sends and gets {megabytes(given.sizes.client)} of adapters and layers that are "
            f"trained whole; FL's clients {megabytes(given.sizes.model)}."
        )
    if plan.cuts:
        sentences.append(
            f"A client holds its weights, gradients and Adam's two means of those that are trained, and what a step's "
            f"{count(plan.batch)} samples leave in its layers; not what Python and torch take."
        )
    sentences.append(
        "The paper's time of PSL is that of one shared medium; its others are with a link for each client."
    )
    if given.phi == 0:
        sentences.append("At φ = 0 the paper's SGLR still has one sample's average on top of PSL.")
    if given.profile is not None:
        sentences.append(f"Energy is a model ({given.profile.name}): trust ratios more than joules.")
    return sentences


def _targets(plan: CostPlan) -> str:
    """Say what targets add where they are sent."""
    if plan.targets_mb is None or plan.target_bytes is None:
        return "labels"
    each = size(plan.target_bytes)
    return f"targets, which add {megabytes(plan.targets_mb)} to an epoch of PSL, SFL and SGLR ({each} a sample)"


def names(methods: Sequence[str]) -> str:
    """Write methods as the paper does: ``PSL and SGLR``."""
    *others, last = (method.upper() for method in methods)
    return f"{', '.join(others)} and {last}" if others else last


def megabytes(number: float) -> str:
    """Write MB in the unit that suits them."""
    return size(number * BYTES_PER_MB)


def _sends_least(plan: CostPlan) -> str:
    least = plan.cheapest["total_mb.paper"]
    cost = plan.methods[least[0]].views["paper"]
    others = [name for name in (("sfl", "fl") if SPLIT in least else (SPLIT,)) if name not in least]
    savings = " and ".join(f"{percent(plan.saving(least[0], name))} less than {name.upper()}" for name in others)
    verb = "send" if len(least) > 1 else "sends"
    figures = f"{megabytes(cost.total_mb)} per epoch, {megabytes(cost.per_client_mb)} per client"
    return f"{names(least)} {verb} least, as the paper counts: {figures}. That is {savings}."


def _in_views(plan: CostPlan, what: str) -> str:
    """Say which method is best over the two kinds of network, in one sentence where it is the same."""
    figures = {}
    for view in VIEW_WORDS:
        value = plan.methods[plan.cheapest[f"{what}.{view}"][0]].measure(f"{what}.{view}") or 0.0
        figures[view] = f"{VIEW_WORDS[view]} ({megabytes(value) if what == 'total_mb' else clock(value)})"
    one, several = ("sends least", "send least") if what == "total_mb" else ("is fastest", "are fastest")
    best = {view: plan.cheapest[f"{what}.{view}"] for view in VIEW_WORDS}
    said = {view: f"{names(least)} {several if len(least) > 1 else one}" for view, least in best.items()}
    medium, links = VIEW_WORDS
    if best[medium] == best[links]:
        return f"{said[medium]} {figures[medium]} and {figures[links]}."
    return f"{said[medium]} {figures[medium]}, {said[links]} {figures[links]}."


def _computes_least(plan: CostPlan) -> str:
    least = plan.cheapest["client_flops"]
    flops, whole = plan.methods[least[0]].client_flops or 0.0, plan.methods["fl"].client_flops or 0.0
    figures = f"{operations(flops)} per epoch, {percent(flops / whole)} of FL's"
    return f"A client computes least with {names(least)}: {figures}."


def _least_energy(plan: CostPlan) -> str:
    least = plan.cheapest["joules"]
    cost = plan.methods[least[0]]
    network = percent((cost.network_joules or 0.0) / (cost.joules or 1.0), 0)
    verb = "take" if len(least) > 1 else "takes"
    return f"{names(least)} {verb} least energy: {joules(cost.joules)} per epoch, {network} of it sending."


def _time_counted(plan: CostPlan) -> str:
    given = plan.scenario
    sent = f"Time is at {_rate(plan)}"
    if given.work is None or not (given.flops_rate or given.server_flops_rate):
        missing = "--flops-rate" if given.work is not None else "--model with --flops-rate"
        return f"{sent}, with computation (T) as 0: give {missing} to add it."
    rates = (("clients", given.flops_rate), ("the server", given.server_flops_rate))
    known = [f"{who} at {operations(rate)}/s" for who, rate in rates if rate is not None]
    without = [f"; {who} takes no time" for who, rate in rates if rate is None]
    return f"{sent}, with computation (T) estimated: {' and '.join(known)}{''.join(without)}."


def _rate(plan: CostPlan) -> str:
    return f"{count(plan.scenario.rate * 8)} Mbit/s"


def _cut_facts(entry: CutCost) -> str:
    cost = entry.methods[SPLIT]
    share = (cost.client_flops or 0.0) / (entry.methods["fl"].client_flops or 1.0)
    sent = megabytes(cost.views["paper"].total_mb)
    return f"{entry.cut.name}: {sent} per epoch, with {percent(share)} of the computation at the client."


def _against_fl(plan: CostPlan) -> str:
    """Say at which cuts split learning sends less than sending weights."""
    less = [entry for entry in plan.cuts if _sent(entry, SPLIT) < _sent(entry, "fl")]
    if not less:
        return "Wherever it is cut, SGLR sends more than FL."
    if len(less) == len(plan.cuts):
        return "Wherever it is cut, SGLR sends less than FL."
    best = [entry.cut.name for entry in less if entry.efficient] or [less[0].cut.name]
    return f"SGLR sends less than FL at {len(less)} of {len(plan.cuts)} cuts, such as {', '.join(best[:3])}."


def _sent(entry: CutCost, method: str) -> float:
    return entry.methods[method].views["paper"].total_mb


def _crossover_sentence(group: Sequence[Crossover], plan: CostPlan) -> str:
    """Join what is known of one pair and measure over all that changes."""
    first, second = group[0].between
    measure, _, view = group[0].measure.partition(".")
    where = VIEW_WORDS[view] + ", " if view in VIEW_WORDS else ""
    winners = {name for c in group for name in (c.below, c.above)}
    if winners == {None}:
        return _capital(f"{where}{names([first])} and {names([second])} cost the same.")
    if first not in winners:
        first, second = second, first
    verb = _VERBS[measure]
    if winners - {None} == {first} and None not in winners:
        return _capital(f"{where}{first.upper()} {verb} {second.upper()} whatever the numbers.")
    clauses = [_clause(over, [c for c in group if c.over == over], first, plan) for over in OVER]
    return _capital(f"{where}{first.upper()} {verb} {second.upper()} {'; '.join(filter(None, clauses))}.")


def _clause(over: str, changes: Sequence[Crossover], winner: str, plan: CostPlan) -> str:
    """Say for which values of what changes the method is cheaper."""
    if not changes:
        return ""
    thing = {"samples": "samples", "clients": "clients", "phi": "φ"}[over]
    if changes[0].at is None:
        return f"at {'any' if changes[0].below == winner else 'no'} {thing if over == 'phi' else f'number of {thing}'}"
    ranges = [f"up to {_value(c.at, over, plan)}" for c in changes if c.below == winner]
    ranges += [f"above {_value(c.at, over, plan)}" for c in changes if c.above == winner]
    return " and ".join(ranges)


def _value(at: float | None, over: str, plan: CostPlan) -> str:
    if over == "phi":
        return f"φ = {at:.2g}"
    if over == "clients":
        return f"{count(at)} clients"
    return f"{count(at)} samples ({count(int(at or 0) // plan.scenario.sizes.clients)} per client)"


def _capital(sentence: str) -> str:
    # Not str.capitalize, which makes small letters of the rest.
    return sentence[:1].upper() + sentence[1:]
