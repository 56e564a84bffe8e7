"""All claims of the documents in their order: tables A and B, then the advice of the text (C)."""

import re
from collections.abc import Iterable, Mapping, Sequence

from tlsearch.evidence.advice_claims import ADVICE, ADVICE_ON
from tlsearch.evidence.claim import Claim
from tlsearch.evidence.table_claims import LEARNING_RATES, SPLITS, STRATEGIES, WAYS_TO_SPLIT

CLAIMS: tuple[Claim, ...] = (*LEARNING_RATES, *SPLITS, *ADVICE)
BY_KEY: Mapping[str, Claim] = {claim.key: claim for claim in CLAIMS}


def claims_of(table: str) -> tuple[Claim, ...]:
    """The claims of one table, "A", "B" or "C"."""
    return tuple(claim for claim in CLAIMS if claim.table == table)


def advice_about(arms: Iterable[str]) -> list[Claim]:
    """The claims of the text (C) that these arms are there for; "freeze 2" is one of "freeze", and
    "network resnet18" one of "network".
    """
    there = {None, *(name for arm in arms for name in _names(arm))}
    return [claim for claim in ADVICE if claim.arm in there and claim.reference in there]


def unclaimed(arms: Iterable[str]) -> list[str]:
    """Those of the arms that no claim of the text is about, given all of them."""
    every = list(arms)
    about = {name for claim in advice_about(every) for name in (claim.arm, claim.reference)}
    return [arm for arm in every if not about.intersection(_names(arm))]


def _names(arm: str) -> set[str]:
    """What claims may call it."""
    return {arm, re.sub(r" \d+$|(?<=^network) .+$", "", arm)}


def strategies_of(table: str) -> Mapping[str, str]:
    """The rows of a table, by id, in the documents' order."""
    return {"A": STRATEGIES, "B": WAYS_TO_SPLIT, "C": ADVICE_ON}[table]


def claims_asked(table: str, *, arms: Sequence[str], reference: str) -> list[Claim]:
    """The claims that a comparison of these arms answers.

    Tables A and B are answered whole, with gaps named; of the advice what the arms are there for;
    of an own table each arm against the reference.
    """
    if table == "own":
        return [own_claim(arm, reference) for arm in arms if arm != reference]
    return advice_about(arms) if table == "C" else list(claims_of(table))


def own_claim(arm: str, reference: str) -> Claim:
    """What an arm of a user's own table is held to: to be more accurate than the reference.

    Tested on both sides, so that *contradicted* says that it is less accurate.
    """
    return Claim(
        table="own",
        id=arm,
        side="for",
        says=f"beats {reference}",
        statistic="accuracy",
        arm=arm,
        reference=reference,
        direction=1,
    )
