import math
from typing import Any

import pytest

from tlsearch.config.loader import parse
from tlsearch.errors import RequestError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E4", 1e4),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("+3", 3),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("yes", "yes"),
        ("off", "off"),
        ("NO", "NO"),
        ("True", True),
        ("~", None),
        ("", None),
        ("Null", None),
        ("'1'", "1"),
        ('"null"', "null"),
        (".inf", math.inf),
        ("1e", "1e"),
        ("9" * 5000, "9" * 5000),
        ("٣", "٣"),
    ],
)
def test_scalars_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse(f"a: {text}", origin="x").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_lines() -> None:
    text = "# c\na: 1\nb:\n  c: {d: 2,\n      e: 3}\n  f:\n    - 1\n    - g: 2\n"
    lines = parse(text, origin="x").lines
    assert lines[("a",)] == 2
    assert lines[("b", "c", "e")] == 5
    assert lines[("b", "f", 0)] == 7
    assert lines[("b", "f", 1, "g")] == 8


def test_keys_stay_text_and_doubles_are_refused() -> None:
    document = parse("1: a\ntrue: b\n1: c\n[x]: d\n", origin="x")
    assert document.data == {"1": "c", "true": "b"}
    rules = [c.rule for c in document.faults]
    assert rules == ["is set twice, first in line 1", "a key must be a word"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1\nb: *x", "line 1: anchors and aliases are not read: write the value out"),
        ("a: !!python/object:os.system x", "line 1: tags such as tag:yaml.org,2002:python/object"),
        ("\nb: !env HOME", "line 2: tags such as !env are not read: drop it"),
        ("a: 1\n---\nb: 2", "keep one document in the file"),
        ("a:\n\tb: 1", "line 2: not valid YAML: found character '\\t' that cannot start any token"),
        ("a: [1, 2", "check brackets, quotes and commas"),
        ("a: b: c", "line 1: not valid YAML: mapping values are not allowed here"),
        ("a: \x00", "not valid YAML: special characters are not allowed"),
        ("[" * 3000, "nested too deeply for a study"),
    ],
)
def test_refused_in_one_line(text: str, expected: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(text, origin="f.yaml")
    message = str(caught.value)
    assert message.startswith("f.yaml: ")
    assert expected in message
    assert "\n" not in message
