"""Pages that need nothing else: one HTML file with its style and pictures inside, safe against what data hold."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from wearcast import __version__
from wearcast.errors import require

__all__ = ["page", "trusted"]

_SHARED = "page.html.j2"


def page(room: str, template: str, **content: Any) -> str:
    """Render a template of a room, which extends the shared `page.html.j2`.

    Args:
        room: package that the template lies in, such as `__package__`.
        template: name of its file.
        content: what it reads; text is escaped unless it is `trusted`.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    jinja2 = require("jinja2", extra="report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda name: (files(__package__ if name == _SHARED else room) / name).read_text(encoding="utf-8")
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return str(environment.get_template(template).render(version=__version__, **content))


def trusted(markup: str) -> Any:
    """Markup of our own, such as a drawing, that goes into a page as it is."""
    return require("markupsafe", extra="report").Markup(markup)
