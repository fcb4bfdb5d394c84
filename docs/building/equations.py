r"""Equations become MathML when the site is built, so that a page needs no script and no font from elsewhere.

They are written as `$…$` within a line and as `$$…$$` on lines of their own; code is left alone. A dollar sign that is
followed by a space, a digit or a capital letter is one.
"""

from __future__ import annotations

import re

from latex2mathml.converter import convert
from sources import outside_code

BLOCK = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<![\\$\w])\$(?![\s\d$])([^$\n]+?)(?<!\s)\$(?![\w$])")


def typeset(text: str) -> str:
    """Return a page with its equations as MathML."""
    return outside_code(text, lambda prose: INLINE.sub(_inline, BLOCK.sub(_block, prose)))


def _block(found: re.Match[str]) -> str:
    lines = "".join(_mathml(line, display="block") for line in found[1].splitlines())
    return f'<div class="equation">{lines}</div>'


def _inline(found: re.Match[str]) -> str:
    """Return an equation within a line; at the beginning of a line Markdown takes a bare ``math`` for a block."""
    return f'<span class="equation">{_mathml(found[1])}</span>'


def _mathml(latex: str, display: str = "inline") -> str:
    """Return an equation as MathML, whose bars stand for sizes, without the space that an operator has around it.

    They stay entities: in a table a bar as such would end the cell.
    """
    return re.sub(
        r"<mo[^>]*>&#x0007C;</mo>",
        '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>',
        convert(latex, display=display),
    )
