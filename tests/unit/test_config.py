"""Documents, inheritance, overrides, complaints and schema."""

from __future__ import annotations

import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator, model_validator

from wearcast.config import Strict, nearest
from wearcast.config.checking import parse
from wearcast.config.document import Document, dotted, read, read_text
from wearcast.config.inheritance import from_mapping, load, merge, overrides
from wearcast.config.writing import json_schema, to_yaml
from wearcast.errors import ConfigError


class Tft(Strict):
    kind: Literal["tft"] = "tft"
    d_model: int = Field(32, gt=0, description="Hidden size.")
    n_heads: int = 4


class Cnn(Strict):
    kind: Literal["cnn_bilstm"] = "cnn_bilstm"
    channels: tuple[int, ...] = (16, 32)
    stride: int = 1


class Window(Strict):
    context_length: int = 30
    pad: Literal["left", "none"] = "left"

    @model_validator(mode="after")
    def _long_enough(self) -> Window:
        if self.context_length == 13:
            raise ValueError("context_length must not be 13")
        return self


class Plan(Strict):
    version: int = 1
    name: str
    backbone: Annotated[Tft | Cnn, Field(discriminator="kind")] = Tft()
    window: Window = Window()
    windows: tuple[Window, ...] = ()
    rate: float | None = None
    path: Path | None = None
    devices: int | Literal["auto"] = 1
    ending: Literal["last_row", "censored"] | Window = "censored"
    sensors: tuple[str, ...] | Literal["rest"] = "rest"

    @field_validator("sensors", mode="before")
    @classmethod
    def _all_by_default(cls, value: object) -> object:
        return "rest" if value is None else value


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refused(text: str, folder: Path) -> ConfigError:
    path = write(folder, "plan.yaml", text)
    with pytest.raises(ConfigError) as caught:
        parse(Plan, load(path))
    return caught.value


# ------------------------------------------------------------------ reading


def test_light_to_import():
    """`Strict` must not pull YAML in: it is the base of models that the bundle uses."""
    code = "import sys; from wearcast.config import Strict, nearest; print('yaml' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "False"


def test_nearest_spelling():
    assert nearest("backbnoe", ["backbone", "window"]) == "did you mean 'backbone'?"
    assert nearest("zzz", ["backbone"]) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("010", 10),
        ("no", "no"),
        ("on", "on"),
        ("10:30", "10:30"),
        ("2024-01-02", "2024-01-02"),
        ("~", None),
        ("", None),
        ("true", True),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", float("-inf")),
        ("'5'", "5"),
        ("[1, a]", [1, "a"]),
        ("{a: 1}", {"a": 1}),
        ("1_000", "1_000"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any):
    assert read_text(text, "here")[0] == value


def test_every_value_has_its_line(tmp_path: Path):
    path = write(tmp_path, "a.yaml", "name: x\nwindow:\n  pad: left\nwindows:\n  - pad: none\n")
    document = read(path)
    assert document.place(("window", "pad")).line == 3
    assert document.place(("windows", 0, "pad")).line == 5
    assert str(document.place(("nowhere",))) == str(path)
    assert dotted(("windows", 0, "pad")) == "windows[0].pad"


def test_byte_order_mark_and_crlf_are_read(tmp_path: Path):
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\r\nversion: 1\r\n")
    assert read(path).data == {"name": "x", "version": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\nname: b\n", ["plan.yaml:2", "given twice", "line 1"]),
        ("name: !!python/object:os.system x\n", ["plan.yaml:1", "tag"]),
        ("name: !secret x\n", ["plan.yaml:1", "tag !secret"]),
        ("name: !!int x\n", ["'x' is not a int"]),
        ("window: [1, 2\n", ["plan.yaml:2", "not YAML"]),
        ("name: a\n--- \nname: b\n", ["not YAML"]),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", ["plan.yaml:3", "extends"]),
        ("[a]: 1\n", ["a key must be a word"]),
        ("- a\n", ["a list"]),
        ("", ["nothing"]),
        ("just words\n", ["'just words'"]),
        ("a: *b\n", ["not YAML"]),
        ("name: \x00\n", ["not YAML"]),
        ("a: " + "[" * 60 + "]" * 60, ["nested"]),
        ("a: " + "[" * 600 + "]" * 600, ["nested"]),
        ("a: &a [*a]\n", ["nested"]),
        ("x" * 1_000_001, ["larger"]),
    ],
)
def test_refused_yaml(tmp_path: Path, text: str, words: list[str]):
    message = str(refused(text, tmp_path))
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_alias_bomb_is_refused_quickly(tmp_path: Path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "aliases count" in str(refused("\n".join(lines), tmp_path))


def test_aliases_are_read():
    assert read_text("a: &x [1]\nb: *x\n", "here")[0] == {"a": [1], "b": [1]}


def test_missing_and_undecodable_files(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(tmp_path) + "/")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.yaml")


# ------------------------------------------------------------------ inheritance


def test_mappings_merge_and_the_rest_replaces():
    base = from_mapping({"a": {"x": 1, "y": [1, 2]}, "b": 1}, "base")
    top = from_mapping({"a": {"y": [3], "z": 2}, "c": None}, "top")
    assert merge(base, top).data == {"a": {"x": 1, "y": [3], "z": 2}, "b": 1, "c": None}


def test_another_kind_drops_the_keys_of_the_old_one():
    base = from_mapping({"backbone": {"kind": "tft", "d_model": 8}}, "base")
    other = from_mapping({"backbone": {"kind": "cnn_bilstm", "stride": 2}}, "top")
    same = from_mapping({"backbone": {"kind": "tft", "n_heads": 2}}, "top")
    assert merge(base, other).data == {"backbone": {"kind": "cnn_bilstm", "stride": 2}}
    assert merge(base, same).data == {"backbone": {"kind": "tft", "d_model": 8, "n_heads": 2}}


def test_extends_a_path_a_name_and_a_list(tmp_path: Path):
    write(tmp_path, "recipes/base.yaml", "name: base\nwindow: {context_length: 10, pad: none}\n")
    write(tmp_path, "more/small.yaml", "backbone: {kind: tft, d_model: 4}\n")
    top = write(
        tmp_path, "more/deep/top.yaml", "extends: [base, ../small.yaml]\nname: top\nwindow:\n  context_length: 5\n"
    )
    document = load(top, find=lambda name: tmp_path / "recipes" / f"{name}.yaml")
    plan = parse(Plan, document)
    assert plan == Plan(name="top", backbone=Tft(d_model=4), window=Window(context_length=5, pad="none"))
    assert document.place(("window", "pad")).source.endswith("base.yaml")
    assert document.place(("window", "context_length")).source == str(top)


def test_a_mapping_inside_extends_a_document_of_its_own(tmp_path: Path):
    """As the members of an ensemble do; what stands beside it goes over it, and every line is known."""
    (tmp_path / "base.yaml").write_text("name: base\nwindow:\n  context_length: 7\n  pad: none\n")
    (tmp_path / "top.yaml").write_text(
        "members:\n  one:\n    extends: base.yaml\n    name: one\n  two:\n    window: {context_length: 9}\n"
    )
    document = load(tmp_path / "top.yaml")
    assert document.data == {
        "members": {
            "one": {"name": "one", "window": {"context_length": 7, "pad": "none"}},
            "two": {"window": {"context_length": 9}},
        }
    }
    assert str(document.place(("members", "one", "name"))) == f"{tmp_path / 'top.yaml'}:4"
    assert str(document.place(("members", "one", "window", "pad"))) == f"{tmp_path / 'base.yaml'}:4"
    changed = overrides(document, ["members.one.window.pad=left"])
    assert changed.data["members"]["one"]["window"] == {"context_length": 7, "pad": "left"}


def test_a_mapping_inside_that_extends_in_a_circle(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("window:\n  extends: a.yaml\n")
    with pytest.raises(ConfigError, match="circle"):
        load(tmp_path / "a.yaml")


def test_a_circle_is_shown_with_its_chain(tmp_path: Path):
    write(tmp_path, "a.yaml", "extends: ./b.yaml\n")
    write(tmp_path, "b.yaml", "extends: ./c.yaml\n")
    write(tmp_path, "c.yaml", "extends: ./b.yaml\n")
    with pytest.raises(ConfigError, match=r"a\.yaml → b\.yaml → c\.yaml → b\.yaml"):
        load(tmp_path / "a.yaml")


def test_the_same_parent_twice_is_no_circle(tmp_path: Path):
    write(tmp_path, "root.yaml", "name: root\n")
    write(tmp_path, "a.yaml", "extends: root.yaml\n")
    top = write(tmp_path, "top.yaml", "extends: [a.yaml, root.yaml]\n")
    assert load(top).data == {"name": "root"}


@pytest.mark.parametrize("extends", ["5", "[]", "[1]", "{a: b}", "''", "null"])
def test_extends_of_the_wrong_type(tmp_path: Path, extends: str):
    assert "extends: expected a name" in str(refused(f"name: x\nextends: {extends}\n", tmp_path))


def test_an_unknown_name_is_answered_where_it_was_written(tmp_path: Path):
    def find(name: str) -> Path:
        raise ConfigError(f"no recipe {name!r}", hint="did you mean 'base'?")

    top = write(tmp_path, "top.yaml", "name: x\nextends: bsae\n")
    with pytest.raises(ConfigError, match=r"top\.yaml:2: no recipe 'bsae' \(did you mean 'base'\?\)"):
        load(top, find=find)
    with pytest.raises(ConfigError, match="only paths are known"):
        load(top)
    with pytest.raises(ConfigError, match="no recipe 'bsae'"):
        load("bsae", find=find)


# ------------------------------------------------------------------ overrides


def test_overrides_set_nested_values_in_order():
    document = from_mapping({"name": "x", "window": {"pad": "none"}}, "base")
    changed = overrides(document, ["window.context_length=7", "rate=1e-3", "window.context_length=8", "name=a=b"])
    assert parse(Plan, changed) == Plan(name="a=b", rate=1e-3, window=Window(context_length=8, pad="none"))


def test_an_override_of_the_kind_drops_the_old_keys():
    document = from_mapping({"name": "x", "backbone": {"kind": "tft", "d_model": 8}}, "base")
    assert parse(Plan, overrides(document, ["backbone.kind=cnn_bilstm"])).backbone == Cnn()
    assert parse(Plan, overrides(document, ["backbone={kind: cnn_bilstm, stride: 3}"])).backbone == Cnn(stride=3)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("window", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("a..b=3", "KEY=VALUE"),
        ("extends=tft", "cannot be set"),
        ("name.first=3", "name is 'x', so it has no key 'first'"),
        ("windows.0=3", "windows is a list"),
        ("window=[1", "not YAML"),
        ("window.contxt_length=3", "did you mean 'context_length'"),
        ("widnow.pad=left", "did you mean 'window'"),
        ("window.pad=lefft", "did you mean 'left'"),
    ],
)
def test_wrong_overrides_name_the_flag(assignment: str, words: str):
    document = from_mapping({"name": "x", "windows": []}, "base")
    with pytest.raises(ConfigError) as caught:
        parse(Plan, overrides(document, [assignment]))
    assert words in str(caught.value)
    assert caught.value.where is not None
    assert caught.value.where.startswith(f"--set {assignment}")


# ------------------------------------------------------------------ complaints


@pytest.mark.parametrize(
    ("text", "where", "what", "hint"),
    [
        ("name: x\nbackbnoe: {}\n", 2, "unknown key backbnoe", "'backbone'"),
        ("name: x\nbackbone:\n  kind: tft\n  d_modle: 3\n", 4, "unknown key backbone.d_modle", "'d_model'"),
        (
            "name: x\nbackbone:\n  kind: tft\n  stride: 3\n",
            4,
            "unknown key backbone.stride",
            "known here: kind, d_model",
        ),
        (
            "name: x\nbackbone: {kind: tfd}\n",
            2,
            "backbone.kind: expected one of 'tft', 'cnn_bilstm', got \"tfd\"",
            "'tft'",
        ),
        ("name: x\nbackbone: {d_model: 3}\n", 2, "backbone needs the key 'kind'", "one of tft, cnn_bilstm"),
        ("name: x\nwindow:\n  pad: lift\n", 3, "window.pad: expected one of 'left' or 'none', got \"lift\"", "'left'"),
        (
            "name: x\nbackbone:\n  kind: tft\n  d_model: 0\n",
            4,
            "backbone.d_model: expected greater than 0, got 0",
            None,
        ),
        ('name: x\nwindow:\n  context_length: "5"\n', 3, 'context_length: expected a whole number, got "5"', None),
        ("name: x\nversion: true\n", 2, "version: expected a whole number, got true", None),
        ("name:\n", 1, "name: expected text, got nothing (null)", None),
        ("version: 1\n", None, "the key name is missing", None),
        ("name: x\nwindow:\n  context_length: 13\n", 2, "window: context_length must not be 13", None),
        ("name: x\nwindows:\n  - pad: none\n  - pad: nine\n", 4, "windows[1].pad: expected", "'none'"),
        ("name: x\nbackbone: {kind: cnn_bilstm, channels: [1, x]}\n", 2, "backbone.channels[1]: expected", None),
        ("name: x\nrate: .inf\n", 2, "rate: expected a finite number", None),
        ("name: x\ndevices: aut\n", 2, "devices: expected a whole number or 'auto', got \"aut\"", "'auto'"),
        (
            "name: x\nending: lastrow\n",
            2,
            "ending: expected one of 'last_row' or 'censored' or a mapping",
            "'last_row'",
        ),
        ("name: x\nending:\n  pda: left\n", 3, "unknown key ending.pda", "'pad'"),
        ("name: x\nwindow: 5\n", 2, "window: expected a mapping, got 5", None),
    ],
)
def test_complaints(tmp_path: Path, text: str, where: int | None, what: str, hint: str | None):
    error = refused(text, tmp_path)
    path = str(tmp_path / "plan.yaml")
    assert error.where == (path if where is None else f"{path}:{where}")
    assert what in error.what
    if hint is None:
        assert error.hint is None
    else:
        assert hint in str(error.hint)


def test_several_complaints_are_all_told_and_the_misspelling_comes_first(tmp_path: Path):
    error = refused("nmae: x\nversion: []\nwindow: {pad: lift}\n", tmp_path)
    first, more, *rest = str(error).splitlines()
    assert "unknown key nmae" in first
    assert "did you mean 'name'?" in first
    assert more == "and 3 more:"
    assert len(rest) == 3
    assert "the key name is missing" in rest[-1]


def test_a_path_is_read_from_text(tmp_path: Path):
    assert parse(Plan, from_mapping({"name": "x", "path": "a/b"}, "here")).path == Path("a/b")


def test_a_list_behind_a_validator_that_runs_before_is_a_list(tmp_path: Path):
    assert parse(Plan, from_mapping({"name": "x", "sensors": ["a", "b"]}, "here")).sensors == ("a", "b")
    error = refused("name: x\nsensors: [a, b]\nrate: x\n", tmp_path)
    assert str(error) == f'{tmp_path / "plan.yaml"}:3: rate: expected a number, got "x"'
    assert "sensors[1]" in str(refused("name: x\nsensors: [a, 1]\n", tmp_path))
    assert "sensors: expected a list or 'rest', got 5" in str(refused("name: x\nsensors: 5\n", tmp_path))


# ------------------------------------------------------------------ writing

scalars = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False) | st.text(max_size=8)
words = st.text("abcdefgh_", min_size=1, max_size=3)
trees = st.dictionaries(
    words,
    st.recursive(scalars, lambda t: st.lists(t, max_size=3) | st.dictionaries(words, t, max_size=3), max_leaves=8),
)
# Mappings under m and n, scalars under a, b and c: documents that agree on what is a mapping.
alike = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
    lambda t: st.builds(lambda flat, deep: {**flat, **deep}, t, st.dictionaries(st.sampled_from("mn"), t)),
    max_leaves=4,
)


def as_document(data: dict[str, Any]) -> Document:
    return from_mapping(data, "here")


@given(trees)
def test_merge_has_an_identity_and_is_idempotent(tree: dict[str, Any]):
    document = as_document(tree)
    assert merge(document, as_document({})).data == tree
    assert merge(as_document({}), document).data == tree
    assert merge(document, document).data == tree


@given(alike, alike, alike)
def test_merge_is_associative_where_documents_agree_on_what_is_a_mapping(
    a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]
):
    first, second, third = map(as_document, (a, b, c))
    assert merge(merge(first, second), third).data == merge(first, merge(second, third)).data


@given(trees, trees)
def test_the_top_always_wins(a: dict[str, Any], b: dict[str, Any]):
    merged = merge(as_document(a), as_document(b))
    assert set(merged.data) == set(a) | set(b)
    assert merge(merged, as_document(b)).data == merged.data


@given(trees)
def test_yaml_round_trip(tree: dict[str, Any]):
    assert read_text(to_yaml(tree), "here")[0] == tree


def test_a_model_round_trips_in_the_order_of_its_fields(tmp_path: Path):
    plan = Plan(name="no", backbone=Cnn(channels=(1, 2)), windows=(Window(),), rate=1e-5)
    text = to_yaml(plan)
    assert [line.split(":")[0] for line in text.splitlines() if line[0].isalpha()] == list(Plan.model_fields)
    assert "channels: [1, 2]" in text
    assert parse(Plan, load(write(tmp_path, "plan.yaml", text))) == plan


def test_schema_describes_the_keys_and_lets_a_file_extend():
    schema = json_schema(Plan)
    assert next(iter(schema["properties"])) == "extends"
    assert schema["$defs"]["Tft"]["properties"]["d_model"]["description"] == "Hidden size."
    assert "required" not in schema
    assert {part["$ref"] for part in schema["properties"]["backbone"]["anyOf"]} == {"#/$defs/Tft", "#/$defs/Cnn"}


def test_schema_of_a_file_that_is_one_of_several_models():
    schema = json_schema(Plan, Window)
    assert {part["$ref"] for part in schema["anyOf"]} == {"#/$defs/Plan", "#/$defs/Window"}
    for name in ("Plan", "Window"):
        assert next(iter(schema["$defs"][name]["properties"])) == "extends"


class _Circle(Strict):
    radius: float

    @cached_property
    def area(self) -> float:
        return 3.14 * self.radius**2


def test_what_was_worked_out_is_no_part_of_a_value_and_not_copied():
    """A kept array would make comparison fail, and a copy with another field would answer with the old result."""
    circle = _Circle(radius=1.0)
    assert circle.area == pytest.approx(3.14)
    assert circle == _Circle(radius=1.0)
    assert hash(circle) == hash(_Circle(radius=1.0))
    assert circle != _Circle(radius=2.0)
    assert circle.model_copy(update={"radius": 2.0}).area == pytest.approx(12.56)
