"""All claims of the documents in their order: tables A and B, then the advice of the text (C)."""

from collections.abc import Mapping

from tlsearch.evidence.advice_claims import ADVICE
from tlsearch.evidence.claim import Claim
from tlsearch.evidence.table_claims import LEARNING_RATES, SPLITS

CLAIMS: tuple[Claim, ...] = (*LEARNING_RATES, *SPLITS, *ADVICE)
BY_KEY: Mapping[str, Claim] = {claim.key: claim for claim in CLAIMS}


def claims_of(table: str) -> tuple[Claim, ...]:
    """The claims of one table, "A", "B" or "C"."""
    return tuple(claim for claim in CLAIMS if claim.table == table)
