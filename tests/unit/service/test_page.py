"""The page that describes the routes: text alone, nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from wearcast.service.access import ACCESS
from wearcast.service.app import create_app
from wearcast.service.page import page
from wearcast.service.settings import Settings


class Read(HTMLParser):
    """The tags of a page and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def document(tmp_path: Any) -> dict[str, Any]:
    settings = {"models": {"bundle": "/models/pumps"}, "state_url": f"sqlite:///{tmp_path / 'state.sqlite'}"}
    app = create_app(Settings.model_validate(settings))
    app.state.service.database.dispose()
    return app.openapi()


def test_every_route_is_there_with_its_scope_and_a_command(tmp_path: Any) -> None:
    read = Read(page(document(tmp_path)))
    assert read.open == []
    for rule in ACCESS:
        if rule.path not in ("/docs", "/openapi.json"):
            assert rule.path in read.text
    assert "scope admin" in read.text
    assert "curl -s -X PUT \\\n  http://localhost:8000/v1/deployment/split" in read.text
    assert "-H 'content-type: application/json'" in read.text


def test_it_needs_no_program_and_no_network(tmp_path: Any) -> None:
    read = Read(page(document(tmp_path)))
    assert not read.tags & {"script", "img", "link", "iframe", "object"}
    assert read.links == ["openapi.json"]


def test_what_a_document_says_is_text(tmp_path: Any) -> None:
    made = document(tmp_path)
    made["paths"]["/v1/models"]["get"]["summary"] = "<script>alert(1)</script>"
    made["paths"]["/v1/models"]["get"]["description"] = '`<b>` & "more"'
    text = page(made)
    assert "<script" not in text
    assert re.search(r"<code>&lt;b&gt;</code> &amp; &quot;more&quot;", text)
