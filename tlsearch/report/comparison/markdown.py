"""A comparison's tables as Markdown, for a pull request."""

from collections.abc import Sequence

from tlsearch.evidence.answers import Tables
from tlsearch.report.comparison.findings import Finding, findings, foretold, summary, warnings
from tlsearch.report.comparison.method import protocol_text, provenance_told
from tlsearch.report.comparison.rows import SpokenRow, SpokenScenario, rows_of, scenarios_of
from tlsearch.report.comparison.wording import MEANINGS, SIDES
from tlsearch.report.markdown import escaped, table_text


def render_comparison_markdown(tables: Tables) -> str:
    """What held, the verdicts and what they mean, each scenario's arms and verdicts, how it was
    measured, where it comes from.
    """
    parts = _answer(tables)
    for place in scenarios_of(tables):
        parts += _scenario(place, is_own=tables.protocol.table == "own")
    parts += ["### How this was measured", *map(escaped, protocol_text(tables))]
    found = provenance_told(tables)
    parts.append("\n".join(f"- {one.term}: {escaped(one.text)}" for one in found))
    return "\n\n".join(part for part in parts if part) + "\n"


def render_answer(tables: Tables) -> str:
    """What held, the verdicts and what they mean: the beginning of the whole."""
    return "\n\n".join(part for part in _answer(tables) if part) + "\n"


def _answer(tables: Tables) -> list[str]:
    pooled = tables.tables[0]
    is_own = tables.protocol.table == "own"
    meanings = "; ".join(f"*{kind}*: {meaning}" for kind, meaning in MEANINGS.items())
    return [
        f"## {escaped(tables.protocol.comparison)}",
        escaped((tables.provenance and tables.provenance.about) or ""),
        f"**{escaped(pooled.title)}.** {escaped(summary(tables))}",
        *(f"> **{escaped(warning)}**" for warning in warnings(tables)),
        _list([*findings(tables), *foretold(tables)]),
        _verdicts(rows_of(tables, pooled), is_own=is_own),
        f"Better and worse are *supported* and *contradicted*. {meanings}." if is_own else meanings,
    ]


def _list(found: Sequence[Finding]) -> str:
    return "\n".join(f"- **{escaped(one.lead)}:** {escaped(one.text)}" for one in found)


def _verdicts(rows: Sequence[SpokenRow], *, is_own: bool) -> str:
    lines = []
    for row in rows:
        strategy = row.id if row.id == row.strategy else f"{row.strategy} ({row.id})"
        for side, answers in row.cells.items():
            for one in answers:
                effect = "; ".join(p for p in (one.effect, one.settled_by, one.sides) if p)
                claim = one.says if is_own else f"{SIDES[side]}: {one.says}"
                texts = (strategy, claim, effect, one.basis)
                name, claim, effect, basis = map(escaped, texts)
                lines.append((name, claim, f"**{one.verdict}**", effect, basis))
    first = "arm" if is_own else "strategy"
    return table_text((first, "claim", "verdict", "measured (95 % interval)", "from"), lines)


def _scenario(place: SpokenScenario, *, is_own: bool) -> list[str]:
    parts = [f"### {escaped(place.name)}", escaped(place.said), escaped(place.measured)]
    parts += [f"> **{escaped(warning)}**" for warning in place.warnings]
    parts.append(escaped(place.finding))
    head = tuple(escaped(column.title) for column in place.columns)
    parts.append(table_text(head, [tuple(map(escaped, line)) for line in place.arms]))
    if place.rows:
        parts.append(_verdicts(place.rows, is_own=is_own))
    return parts
