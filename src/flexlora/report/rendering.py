"""How every page is made: one file with its style, script and data inside, from which nothing can leave.

The content security policy allows only that one style and that one script (by hash), so that not even an injected tag
could load or run anything.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from flexlora.files import write_whole
from flexlora.report import words
from flexlora.report.figures import fragment

HERE = Path(__file__).parent


def write_page(
    path: Path,
    template: str,
    scripts: Sequence[str],
    data: str,
    context: Mapping[str, Any],
    styles: Sequence[str] = ("page.css",),
) -> Path:
    """Fill in a template and write the page.

    Args:
        scripts: files beside this one, put together to one script.
        data: what the script reads: JSON that is safe within a page (`browser.to_inert_json`).
        context: what the template draws.
        styles: files beside this one, put together to one style.

    Raises:
        FlexError: the page cannot be written.
    """
    style, script = ("\n".join((HERE / name).read_text("utf-8") for name in names) for names in (styles, scripts))
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words=words, fragment=fragment)
    html = environment.get_template(template).render(
        policy=_policy(style, script), style=Markup(style), script=Markup(script), data=Markup(data), **context
    )
    # Outputs may hold lone surrogates, which UTF-8 cannot; browsers show them as this character anyway.
    write_whole(path, re.sub("[\ud800-\udfff]", "\ufffd", html))
    return path


def unbroken(sentence: str) -> str:
    """The sentence with its interval and its p-value kept from being split between lines."""
    return re.sub(r"\[[^\]]*\]|p [=<] \S+|\S+ points|\d+ problems", lambda m: m[0].replace(" ", "\u00a0"), sentence)


def _policy(style: str, script: str) -> str:
    own = f"style-src {_hash(style)}; script-src {_hash(script)}"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
