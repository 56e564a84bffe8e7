"""Single values with a syntax of their own: durations, counts or `auto`, weights, addresses."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tlsearch.config.dimensions import LARGEST_COUNT
from tlsearch.config.validation import (
    Complaint,
    Parsed,
    boolean_hint,
    number_hint,
    refusal,
    refuse,
    shown,
)
from tlsearch.errors import nearest

BaselineName = Literal["linear_probe", "full_fine_tuning", "from_scratch"]
BaselineMode = Literal["fixed", "tuned"]
BASELINES: tuple[BaselineName, ...] = ("linear_probe", "full_fine_tuning", "from_scratch")
TUNABLE: tuple[BaselineName, ...] = ("full_fine_tuning", "from_scratch")
"""Baselines that may be given as many trials as the search; `linear_probe` has nothing to tune."""
# numpy's legacy generators, inside Optuna, take no seed of more than 32 bits.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = r"(\d+(\.\d+)?d)?(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?"
_TORCHVISION = r"[A-Z][A-Z0-9_]*_V\d+"
_TIMM = r"([a-z0-9]+_)+in\d+k"
_ADDRESSES = re.compile(r"://\S+")
_SECRET_PARAMETER = re.compile(
    r"([?&;][^=&;]*(?:pass|pwd|secret|token|odbc_connect)[^=&;]*=)[^&]*", re.IGNORECASE
)


def read_count(value: object) -> int | Literal["auto"]:
    """A whole number of at least 1, or `auto`."""
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_COUNT:
        hint = number_hint(value) or (nearest(value, ["auto"]) if isinstance(value, str) else "")
        raise refuse(value, "must be a whole number of at least 1, or auto", hint)
    return value


def read_duration(value: object) -> float | None:
    """Seconds from a number above 0 or text such as `1h30m`; null for no limit."""
    if value is None:
        return None
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value if abs(value) < 1e15 else math.nan
    elif isinstance(value, str) and value and re.fullmatch(_DURATION, value):
        parts = re.findall(r"([\d.]+)([dhms])", value)
        seconds = math.fsum(float(number) * _UNITS[unit] for number, unit in parts)
    if not seconds > 0:
        rule = "must be a duration above 0"
        raise refuse(value, rule, "write seconds, 90s, 30m, 1h30m, or null for no limit")
    return float(seconds)


def read_weights(value: object) -> str:
    """A known word, the name of weights in torchvision, or a path to safetensors."""
    if isinstance(value, str):
        known = value in ("none", "glyphs") or re.fullmatch(f"{_TORCHVISION}|{_TIMM}", value)
        if known or (value.endswith(".safetensors") and value != ".safetensors"):
            return value
    rule = "must be glyphs, none, a name of torchvision's or a .safetensors file"
    remedy = "write a name such as IMAGENET1K_V1"
    if value is None:
        remedy = "for a random start write none"
    elif value == "DEFAULT":
        remedy = "DEFAULT changes with torchvision's versions: write IMAGENET1K_V1 or another name"
    elif isinstance(value, str) and re.search(r"\.(pth?|bin|ckpt|pkl)$", value):
        remedy = "pickles are never loaded: save the state dict with safetensors.torch.save_file"
    elif isinstance(value, str):
        remedy = nearest(value, ["glyphs", "none", "IMAGENET1K_V1", "IMAGENET1K_V2"]) or remedy
    raise refuse(value, rule, remedy)


def fixed_baselines() -> dict[BaselineName, BaselineMode]:
    """All of them, one fixed recipe each: the default."""
    return dict.fromkeys(BASELINES, "fixed")


def read_baselines(value: object) -> Mapping[BaselineName, BaselineMode]:
    """Modes by name, in the fixed order; true names all, false none, a list fixed ones."""
    if isinstance(value, bool):
        return fixed_baselines() if value else {}
    names = ", ".join(BASELINES)
    if not isinstance(value, list | tuple | Mapping):
        remedy = boolean_hint(value) or f"of {names}"
        raise refuse(value, "must be true, false, a list or a mapping", remedy)
    modes: Mapping[Any, Any] = (
        value if isinstance(value, Mapping) else dict.fromkeys(map(str, value), "fixed")
    )
    found = []
    for i, name in enumerate(value):
        at = name if isinstance(value, Mapping) else i
        if name not in BASELINES:
            remedy = nearest(str(name), BASELINES)
            found.append(Complaint((at,), shown(name), f"must be one of {names}", remedy))
        elif not isinstance(value, Mapping) and name in value[:i]:
            found.append(Complaint((i,), shown(name), "is listed twice", "drop one of them"))
        elif modes[name] not in (wanted := ("fixed", "tuned") if name in TUNABLE else ("fixed",)):
            rule = f"must be {' or '.join(wanted)}"
            remedy = nearest(str(modes[name]), wanted)
            if modes[name] == "tuned":
                remedy = f"only {' and '.join(TUNABLE)} can be tuned"
            found.append(Complaint((at,), shown(modes[name]), rule, remedy))
    if found:
        raise refusal(found)
    return {name: modes[name] for name in BASELINES if name in modes}


def _write_baselines(modes: Mapping[BaselineName, BaselineMode]) -> object:
    return dict(modes) if "tuned" in modes.values() else list(modes)


def read_storage(value: object) -> str | None:
    """The address of Optuna's storage, or null for a journal file under mlruns/."""
    if value is None:
        return None
    remedy = "write one such as sqlite:///studies.db, or null for a journal under mlruns/"
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9+]*://.*", value):
        raise refuse(hidden(value), "must be a database's address", remedy)
    if re.fullmatch(r"sqlite(\+\w+)?://(/?:memory:)?/?", value):
        raise refuse(value, "is lost when the run ends", remedy)
    return value


def read_tracking_uri(value: object) -> str | None:
    """The address of an MLflow server or database, or null for the store under mlruns/."""
    if value is None:
        return None
    remedy = "write one such as http://localhost:5000 or sqlite:///mlflow.db, or null"
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9+]*://.+", value):
        raise refuse(hidden(value), "must be an MLflow server's or database's address", remedy)
    if value.startswith("file:"):
        raise refuse(value, "MLflow closed its file store in 3.13", remedy)
    return value


def hidden(value: object) -> object:
    """The value without the passwords of the addresses in it, also inside lists and mappings."""
    if isinstance(value, dict):
        return {key: hidden(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hidden(inner) for inner in value]
    return _ADDRESSES.sub(_without_passwords, value) if isinstance(value, str) else value


def _without_passwords(address: re.Match[str]) -> str:
    # Up to the last @: SQLAlchemy takes what stands before it for the password, slashes included.
    told = _SECRET_PARAMETER.sub(r"\1***", address[0])
    return re.sub(r"(?<=://)([^:/]*):.*@", r"\1:***@", told)


def as_it_is(value: Any) -> Any:
    """Write a value that a study file holds as it is."""
    return value


_ADDRESS = {"anyOf": [{"type": "string", "pattern": "://"}, {"type": "null"}]}

WEIGHTS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"enum": ["glyphs", "none"]},
        {"type": "string", "pattern": f"^{_TORCHVISION}$"},
        {"type": "string", "pattern": f"^{_TIMM}$"},
        {"type": "string", "pattern": r".\.safetensors$"},
    ]
}

AutoOrCount = Annotated[
    int | Literal["auto"],
    Parsed(read_count, {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}, as_it_is),
]
Duration = Annotated[
    float | None,
    Parsed(
        read_duration,
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "minLength": 2, "pattern": f"^{_DURATION}$"},
                {"type": "null"},
            ]
        },
        as_it_is,
    ),
]
Baselines = Annotated[
    Mapping[BaselineName, BaselineMode],
    Parsed(
        read_baselines,
        {
            "anyOf": [
                {"type": "boolean"},
                {"type": "array", "items": {"enum": list(BASELINES)}, "uniqueItems": True},
                {
                    "type": "object",
                    "properties": {
                        name: {"enum": ["fixed", "tuned"] if name in TUNABLE else ["fixed"]}
                        for name in BASELINES
                    },
                    "additionalProperties": False,
                },
            ]
        },
        _write_baselines,
    ),
]
StorageUrl = Annotated[str | None, Parsed(read_storage, _ADDRESS, as_it_is)]
TrackingUri = Annotated[str | None, Parsed(read_tracking_uri, _ADDRESS, as_it_is)]
