"""What can go wrong in ways that a user can put right: messages without a stack trace."""

import json
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import ClassVar, NamedTuple


class TlsearchError(Exception):
    """Base of every error that is shown to a user as one message, without a stack trace."""

    exit_code: ClassVar[int] = 1


class RequestError(TlsearchError, ValueError):
    """The request was wrong: a study file, an option, or a store that belongs to another study."""

    exit_code: ClassVar[int] = 2


class WorkError(TlsearchError, RuntimeError):
    """The request was right and the work failed: no network, a full disk, a store that is gone."""


class Problem(NamedTuple):
    """One thing wrong with a study: where, what was found, the rule it breaks, what to do."""

    field: str
    value: str
    rule: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        found = f" = {self.value}" if self.value else ""
        remedy = f" — {self.remedy}" if self.remedy else ""
        return f"{where}{self.field}{found}: {self.rule}{remedy}"


class StudyError(RequestError):
    """All that is wrong with one study file, found in one reading."""

    def __init__(self, problems: Sequence[Problem], *, file: str = "study") -> None:
        self.problems = tuple(problems)
        self.file = file
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{file}: {count}", *(f"  {p}" for p in problems)]))


class WeightsError(RequestError):
    """Pretrained weights that are unknown, unreadable, or do not fit the backbone."""


class StoreError(RequestError):
    """A store that belongs to another study, or a study that changed since it was started."""


class DivergenceError(TlsearchError):
    """Training left the finite numbers; carries no stack trace because it is a result."""


def nearest(word: str, known: Sequence[str]) -> str:
    """The known word closest to `word`, as a question to append to a remedy; empty if none is."""
    close = get_close_matches(word.lower(), [k.lower() for k in known], n=1, cutoff=0.6)
    match = next((k for k in known if close and k.lower() == close[0]), None)
    return f"did you mean {match!r}?" if match else ""


def refused(field: str, value: str, rule: str, remedy: str) -> RequestError:
    """The error about one field of a study."""
    return RequestError(str(Problem(field, value, rule, remedy)))


def shown(value: object) -> str:
    """A value as a study file would hold it, on one line and cut to a readable length."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=True, default=str)
    except (TypeError, ValueError):
        text = repr(value)
    if isinstance(value, dict | list):
        text = re.sub(r'"([A-Za-z_][\w.]*)"', r"\1", text)
    return text if len(text) <= 60 else f"{text[:57]}..."


_ADDRESSES = re.compile(r"://\S+")
_WITH_BLANKS = re.compile(r"((?!http)[A-Za-z][\w+.-]*://).*\s.*@(\S*)", re.DOTALL)
_SECRET_PARAMETER = re.compile(
    r"([?&;][^=&;]*(?:pass|pwd|secret|token|odbc_connect)[^=&;]*=)[^&]*", re.IGNORECASE
)


def hidden(value: object) -> object:
    """The value without the passwords of the addresses in it, also inside lists and mappings."""
    if isinstance(value, dict):
        return {key: hidden(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hidden(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if found := _WITH_BLANKS.fullmatch(value):  # an address alone, with a blank in its password
        return f"{found[1]}***@{found[2]}"
    return _ADDRESSES.sub(_without_passwords, value)


RAW_AT = "holds two @, and what a driver says of it may show a part of the password"
RAW_AT_REMEDY = "write the @ of a password as %40"


def has_raw_at(address: str) -> bool:
    """Whether an address's user or password holds an @ that is not percent-encoded: SQLAlchemy
    takes what follows the first one for the host, and drivers name it.
    """
    return address.count("@") > 1 and not address.startswith("sqlite")


def _without_passwords(address: re.Match[str]) -> str:
    # Up to the last @: SQLAlchemy takes what stands before it for the password, slashes included.
    text = _SECRET_PARAMETER.sub(r"\1***", address[0])
    return re.sub(r"(?<=://)([^:/]*):.*@", r"\1:***@", text)
