"""Colours and line styles by meaning, on light and on dark: a colour means the same on all pages.

Charts are drawn in the light colours. A style sheet then turns each colour into its dark twin where the reader's system
is dark; a viewer that knows no style sheets shows the light chart.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """One colour, on light and on dark."""

    light: str
    dark: str


INK = Colour("#1c2733", "#e6ebf1")
MUTED = Colour("#5d6b7b", "#9aa7b5")
GRID = Colour("#e3e8ed", "#2c3642")
SURFACE = Colour("#fefefe", "#182029")
PLAIN_GREY = Colour("#808080", "#9aa7b6")  # the text of plots made elsewhere in the package

# Differences are shaded blue above and orange below: the two hues that no common colour blindness confuses.
OVER, UNDER = Colour("#1a76c4", "#4094e4"), Colour("#d66610", "#e47428")
DEEPEST_LIGHT, DEEPEST_DARK = 0.5, 0.5
"""Opacity of the strongest shade: text on it stays legible."""

# Okabe and Ito's colour-blind safe hues, darkened or lightened until each has a contrast of 3:1 to its background.
SERIES = (
    Colour("#0068b0", "#5cb0f5"),
    Colour("#c8500a", "#ff9257"),
    Colour("#00845f", "#35cb9d"),
    Colour("#a8457f", "#ea97c6"),
    Colour("#937000", "#e8bf45"),
    Colour("#66594d", "#c7bcb0"),
    Colour("#2a86c4", "#96d6ff"),
)

# A family for what is sent: activations violet, gradients teal, weights red, labels grey; members differ in lightness.
KINDS = {
    "smashed": Colour("#6a4fc4", "#a794f2"),
    "features": Colour("#8a76d2", "#cfc5ff"),
    "beside": Colour("#4b3a8c", "#d9d0ff"),
    "gradients": Colour("#006d77", "#2fa3ad"),
    "average": Colour("#2f9ca6", "#7ddbe2"),
    "feature_gradients": Colour("#00474e", "#b4f1f4"),
    "weights": Colour("#b02a37", "#f28b94"),
    "labels": Colour("#76828f", "#8b98a6"),
}
"""Colours of messages, by their kind; none of them is a colour of `SERIES`."""

TRAINING, VALIDATION = Colour("#5d6b7c", "#9aa7b7"), SERIES[0]
"""Of a run's own curves; measures of leakage beside them have the colours of `LEAKING`."""
LEAKING = SERIES[1:4]

DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (2, 1.6), (8, 2, 2, 2), (12, 3))
"""Drawn and blank lengths in points; five styles and seven colours meet in 35 different lines."""


def triple(hexadecimal: str) -> str:
    """Return a colour's red, green and blue as style sheets take them where the opacity is a variable."""
    return " ".join(str(int(hexadecimal[start : start + 2], 16)) for start in (1, 3, 5))


def colour(number: int) -> Colour:
    """Return the colour of the series ``number``."""
    return SERIES[number % len(SERIES)]


def dashes(number: int) -> tuple[float, ...]:
    """Return the line style of the series ``number``; empty is a solid line."""
    return DASHES[number % len(DASHES)]


def dark_rules() -> str:
    """Return the style rules that recolour a chart for a dark background."""
    # No ancestor is named: what <use> repeats has none that a rule could see.
    known = (INK, MUTED, GRID, SURFACE, PLAIN_GREY, TRAINING, *SERIES, *KINDS.values())
    rules = [
        f'[style*="{paint}: {one.light}"]{{{paint}:{one.dark} !important}}'
        for one in known
        for paint in ("fill", "stroke")
    ]
    return "@media (prefers-color-scheme: dark){\n" + "\n".join(rules) + "\n}"
