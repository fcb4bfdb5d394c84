"""Turn a matplotlib figure into SVG that belongs to the page: its fonts, its colours, its width."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

from sglr.report.palette import SURFACE, dark_rules

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONTS = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif"

GROWTH = 1.35  # how far a chart may be blown up to fill its card: more would make its text larger than the page's


def inline_svg(figure: Figure, name: str, description: str, growth: float = GROWTH) -> str:
    """Return the figure as an ``<svg>`` element for an HTML page.

    Parameters
    ----------
    figure
        What to show.
    name
        Different for every figure of the page, so that their clip paths and markers are.
    description
        What the figure shows, for those who can't see it.
    growth
        How many times its own width it may be shown.
    """
    text = _drawn(figure, name)
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    width = _points(text, "width") * 4 / 3 * growth
    opening = f'<svg role="img" aria-label="{escape(description)}" style="max-width:{width:.0f}px"'
    return re.sub(r'<svg width="[^"]*" height="[^"]*"', opening, text, count=1)


def standalone_svg(figure: Figure, name: str, description: str) -> str:
    """Return the figure as the text of an SVG file that follows the reader's light or dark setting."""
    text = _drawn(figure, name)
    # A background of its own: the page around may be light while the reader's system is dark.
    dark = f"@media (prefers-color-scheme: dark){{svg{{background:{SURFACE.dark}}}}}"
    rules = f"svg{{{FONTS};background:{SURFACE.light}}}\n{dark}\n{dark_rules()}"
    style = f"<style>*{{stroke-linejoin:round;stroke-linecap:butt}}\n{rules}</style>"
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", lambda _: style, text, count=1, flags=re.DOTALL)
    return re.sub(r"(<svg[^>]*>)", lambda tag: f"{tag[1]}\n<title>{escape(description)}</title>", text, count=1)


def _drawn(figure: Figure, name: str) -> str:
    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(Text):  # a dollar sign in a name is no formula
        text.set_parse_math(False)
    buffer = io.StringIO()
    # The salt makes ids the same in every run and different in every figure.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    svg = re.sub(r" ?font-family: [^;\"]*;?", "", svg)
    return _without_unused_ids(svg)


def _without_unused_ids(text: str) -> str:
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)


def _points(text: str, attribute: str) -> float:
    found = re.search(rf'{attribute}="([\d.]+)pt"', text)
    assert found is not None
    return float(found[1])
