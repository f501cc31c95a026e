"""Pages share one frame and style, and escape what data hold."""

from __future__ import annotations

import sys

import pytest

from wearcast.errors import MissingExtraError
from wearcast.pages import page, trusted

ROOM = "wearcast.evaluation"


def rendered(**content: object) -> str:
    """The page of a judged forecast with almost nothing in it."""
    said = {"title": "t", "kicker": "k", "summary": [], "pictures": [], "pictures_in_pairs": False, "figures": []}
    record = {"split": "test", "seed": 1, "trained_on": ()}
    e = {"fleet": {"n_units": 1}, "n_windows": 1, "record": record, "truth_note": ""}
    return page(
        ROOM, "judged.html.j2", **{**said, "e": e, "confusion": None, "card": [], "experiment": None, **content}
    )


def test_text_is_escaped_and_only_trusted_markup_stays():
    """A name in foreign data is text; a drawing of ours is markup."""
    html = rendered(title="<script>x</script>", summary=[trusted("<b>ours</b>")])
    assert "<script>" not in html
    assert "<b>ours</b>" in html


def test_the_shared_frame_stands_around_each_page():
    """One style, one footer with the version."""
    from wearcast import __version__

    html = rendered()
    assert html.count("<style>") == 1
    assert "--accent" in html
    assert f"Wearcast {__version__}</footer>" in html


def test_without_jinja2_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch):
    """A missing extra is a wrong call."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"wearcast\[report\]"):
        rendered()
