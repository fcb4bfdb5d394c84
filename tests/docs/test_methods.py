"""The pages of methods, held against the code: equations are those of the docstring, flags those of the fields."""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import fields
from importlib import import_module

import pytest

import sglr
from sglr.core.registry import METHODS

from .conftest import DOCS

EQUATION = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.DOTALL | re.MULTILINE)
SIGNS = {
    r"\leftarrow": "←",
    r"\partial": "∂",
    r"\sum": "Σ",
    r"\notin": "∉",
    r"\in": "∈",
    r"\top": "ᵀ",
    r"\eta": "η",
    r"\ell": "ℓ",
    r"\log": "log",
    r"\mathrm": "",
    r"\alpha": "α",
    r"\lambda": "λ",
    r"\omega": "ω",
    r"\leq": "≤",
    r"\tilde{s}": "s~",
    r"\tilde{L}": "L~",
    r"\bar{s}": "s̄",
    r"\bar{r}": "r̄",
    r"\beta": "β",
    r"\gamma": "γ",
    r"\delta": "δ",
    r"\pi": "π",
    r"\mu": "μ",
    r"\Sigma": "Σ",
    r"\sim": "∼",
    r"\bar{g}": "ḡ",
    r"\left": "",
    r"\right": "",
}


@pytest.mark.parametrize("name", METHODS.names())
def test_equations_of_the_page_are_those_of_the_docstring(name: str) -> None:
    page = (DOCS / f"methods/{name}.md").read_text(encoding="utf-8")
    notes = str(inspect.getdoc(METHODS.load(name))).partition("Notes\n")[2]
    told = [line.strip() for line in notes.splitlines() if line.startswith(" " * 4)]
    assert told
    assert [_plain(equation) for equation in EQUATION.findall(page)] == ["".join(line.split()) for line in told]


def _plain(latex: str) -> str:
    r"""Write an equation as docstrings do: ``\frac{a}{b}`` as a/b, ``x_{c,i}`` as x_c,i, Greek letters as such."""
    for command, sign in SIGNS.items():
        latex = re.sub(re.escape(command) + r"(?![a-z])", lambda _, sign=sign: sign, latex)
    while r"\frac" in latex:
        latex = re.sub(r"\\frac\{((?:[^{}]|\{[^{}]*\})*)\}\{([^{}]*)\}", r"\1/\2", latex)
    plain = re.sub(r"\s|[{}]", "", latex).replace("^ᵀ", "ᵀ").replace("−", "-")
    assert "\\" not in plain
    return plain.replace("-", "−")


def test_the_comparison_would_see_a_difference() -> None:
    assert _plain(r"w_{c,i} \leftarrow w_{c,i} - \eta_c J_i^{\top} \bar{g}, i \in C_a") == "w_c,i←w_c,i−η_cJ_iᵀḡ,i∈C_a"
    assert _plain(r"\bar{g} = \frac{\sum_{i \in C_a} g_i}{|C_a|}") == "ḡ=Σ_i∈C_ag_i/|C_a|"


@pytest.mark.parametrize("name", METHODS.names())
def test_the_page_tells_every_setting_with_its_default(name: str) -> None:
    page = (DOCS / f"methods/{name}.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(--[a-z-]+)` \| `?([^|`]*?)`? \|", page, re.MULTILINE))
    own = {f"--{field.name.replace('_', '-')}": str(field.default) for field in fields(METHODS.outline(name))}
    assert rows == own


def test_bars_of_sizes_end_no_cell_of_a_table() -> None:
    import equations

    assert "|" not in equations.typeset(r"$\lvert D_i \rvert / |D|$")
    assert equations.typeset(r"$|D|$").count('<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>') == 2


def test_the_index_names_every_method() -> None:
    index = (DOCS / "methods/index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[`([\w-]+)`\]", index, re.MULTILINE)) == set(METHODS.names())


def test_the_glossary_names_flags_and_names_that_exist() -> None:
    from sglr.cli.plan import plan
    from sglr.cli.settings import settings

    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    known = {setting.flag for setting in settings().values()}
    offered = textwrap.dedent(import_module(plan.__module__).__loader__.get_source(plan.__module__))
    for row in re.findall(r"^\| \$.*", text, re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        if len(cells) == 4:
            for flag in re.findall("`(--[a-z-]+)`", cells[2]):
                assert f'"{flag}"' in offered if "sglr plan" in cells[2] else flag in known, flag
            for name in re.findall("`([A-Za-z_.]+)`", cells[3]):
                assert _exists(*name.split(".")), name


def _exists(name: str, member: str | None = None) -> bool:
    """Say whether a class or function of this name, with this member, is public or in a few rooms."""
    homes = [sglr, *map(import_module, ("sglr.core.merging", "sglr.core.split_lr", "sglr.core.split_avg"))]
    homes.append(import_module("sglr.cost.closed_forms"))
    found = next((getattr(home, name) for home in homes if hasattr(home, name)), None)
    members = {*dir(found), *getattr(found, "__annotations__", {}), *getattr(found, "model_fields", {})}
    return found is not None and (member is None or member in members)


SHARING = [name for name in METHODS.names() if METHODS.load(name).shares]
WHOLE = [name for name in METHODS.names() if METHODS.load(name).whole_model]


@pytest.mark.parametrize(
    ("page", "before", "listed"),
    [
        ("security.md", "layers**, in methods that share them (", SHARING),
        ("sites.md", "lower layers, in methods that share them (", SHARING),
        ("predicting-between-sites.md", "shared by all clients (", sorted({*SHARING} - {*WHOLE, "splitgp"})),
    ],
)
def test_pages_name_all_methods_that_send_weights(page: str, before: str, listed: list[str]) -> None:
    """`splitgp` mixes an average into each client's own weights: no two clients have the same."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(before)[2].partition(")")[0]
    assert sorted(re.findall(r"`([a-z0-9-]+)`", text.replace("`--merge`", ""))) == sorted(listed)


def test_the_page_of_security_names_all_methods_with_averages_over_clients() -> None:
    text = (DOCS / "security.md").read_text(encoding="utf-8").partition("Under SplitAvg (")[2].partition(")")[0]
    averaging = {name for name in METHODS.names() if "phi" in {own.name for own in fields(METHODS.load(name))}}
    assert set(re.findall(r"`([a-z0-9-]+)`", text.replace("`--phi`", ""))) == averaging
