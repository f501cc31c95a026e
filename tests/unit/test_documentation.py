"""The documentation names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def commands(page: Path) -> list[list[str]]:
    """Each `wearcast …` command line of a page, words apart, continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^\s*(?:for .*; do )?(wearcast [a-z].*)$", text, flags=re.MULTILINE)
    return [line.split("; done")[0].split() for line in found]


def test_the_documentation_has_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_flag_in_the_documentation_exists(page: Path) -> None:
    import typer

    from wearcast.cli.app import app

    root = typer.main.get_command(app)
    for words in commands(page):
        command, rest = root, words[1:]
        while rest and hasattr(command, "commands"):
            assert rest[0] in command.commands, " ".join(words)
            command, rest = command.commands[rest[0]], rest[1:]
        known = {flag for parameter in command.params for flag in parameter.opts} | {"--help", "--debug"}
        flags = {word for word in rest if word.startswith("--")}
        assert flags <= known, " ".join(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
