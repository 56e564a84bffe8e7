"""The report as short Markdown, for a pull request."""

import re
from collections.abc import Sequence

from tlsearch.comparison.answers import Tables
from tlsearch.report.answer import (
    NETWORK_HEAD,
    find_answer,
    gain_rows,
    network_table,
    network_verdict,
    source_similarity,
    status,
)
from tlsearch.report.comparison_text import (
    MEANINGS,
    SIDES,
    Finding,
    SpokenRow,
    SpokenScenario,
    findings,
    protocol_text,
    provenance_facts,
    rows_of,
    scenarios_of,
    split_findings,
    summary,
    warnings,
)
from tlsearch.report.context import ReportData
from tlsearch.report.provenance import cost_text
from tlsearch.report.wording import Absent, plain, printable, value_text

TOP = 5
WORST_CLASSES = 3
EXAMPLES = 2


def render_markdown(report: ReportData | Tables) -> str:
    """The answer first, then what it rests on and where it comes from."""
    return _comparison(report) if isinstance(report, Tables) else _search(report)


def _search(data: ReportData) -> str:
    """The answer, what it gains, its parameters, the best trials, where it comes from."""
    parts = [
        f"## {escaped(data.summary.name)}",
        escaped(data.config.about or ""),
        *_answer(data),
        *_parameters(data),
        *_trials(data),
        *_networks(data),
        *_classes(data),
        *_images(data),
        _provenance(data),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """A text on one line that Markdown shows letter by letter, also within a table."""
    return re.sub(r"([\\`*_\[\]<>#|~@&])", r"\\\1", " ".join(printable(text).split()))


def _answer(data: ReportData) -> list[str]:
    answer = find_answer(data)
    parts = [f"**{escaped(answer.headline)}** {escaped(answer.result)}"]
    parts += [f"> **{escaped(warning)}**" for warning in answer.warnings]
    if rows := gain_rows(answer):
        head = ("", "test accuracy (95 % interval)", "the winner's gain", "")
        parts.append(table_text(head, rows))
    return [*parts, *map(escaped, answer.notes)]


def _parameters(data: ReportData) -> list[str]:
    searched = [p for p in find_answer(data).parameters if p.searched]
    if not searched:
        return []
    return [
        table_text(
            ("searched", "value", "range"),
            [(f"`{p.name}`", escaped(p.value), escaped(p.searched or "")) for p in searched],
        )
    ]


def _trials(data: ReportData) -> list[str]:
    metric = data.summary.metric
    best = ", ".join(f"{row.number} ({value_text(row.value, metric)})" for row in data.ranked[:TOP])
    text = f"Trials: {escaped(status(data))}."
    return [f"{text} Best by {plain(metric)}: {best}." if best else text]


def _networks(data: ReportData) -> list[str]:
    rows = network_table(data)
    return [table_text(NETWORK_HEAD, rows), network_verdict(data)] if rows else []


def _classes(data: ReportData) -> list[str]:
    found = data.evaluation
    if isinstance(found, Absent):
        return []
    rows = [row for row in found.per_class if row.images]
    worst = sorted(rows, key=lambda row: row.f1)[:WORST_CLASSES]
    text = ", ".join(f"{escaped(row.name)} {row.f1:.2f}" for row in worst)
    return [f"Hardest classes by F1 ({found.part} part): {text}."]


def _images(data: ReportData) -> list[str]:
    found = data.images
    parts = [f"Data: {escaped(found.result)}"]
    if found.findings:
        rows = [
            (escaped(f.title), escaped(f.text), escaped(f.effect), _examples(f.files, f.more))
            for f in found.findings
        ]
        parts.append(table_text(("found", "what", "what happened", "such as"), rows))
    parts += [
        escaped(sentence) for sentence in (*found.unseen, source_similarity(data)) if sentence
    ]
    if found.classes:
        sums = map(sum, zip(*(row.counts for row in found.classes), strict=True))
        text = ", ".join(f"{total:,} {part}" for part, total in zip(found.parts, sums, strict=True))
        counts = [sum(row.counts) for row in found.classes]
        even = f"{min(counts):,} to {max(counts):,}" if min(counts) < max(counts) else counts[0]
        fold = f" ({found.fold})" if found.fold else ""
        parts.append(f"{len(counts):,} classes of {even} images{fold}: {text}.")
    return parts


def _examples(files: Sequence[str], more: int) -> str:
    shown = [escaped(file) for file in files[:EXAMPLES]]
    more += len(files) - len(shown)
    return "; ".join([*shown, f"and {more:,} more"] if more else shown)


def _provenance(data: ReportData) -> str:
    found = data.provenance
    fingerprint = found.facts.get("data", "not known")
    command = f"run as `{_code(found.command)}` · " if found.command else ""
    lines = [
        f"Cost: {escaped(cost_text(found))}.",
        f"{command}data `{fingerprint}` · revision `{found.revision or 'not known'}` · "
        f"tlsearch {found.versions['tlsearch']}, torch {found.versions.get('torch', 'not found')}",
        *(escaped(sentence) for sentence in data.missing),
    ]
    return "\n\n".join(lines)


def _code(text: str) -> str:
    """A text on one line between backticks, where nothing else is escaped."""
    return " ".join(printable(text).replace("`", "'").split())


def table_text(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table of texts that are escaped already."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# A comparison's tables as Markdown, for a pull request.


def _comparison(tables: Tables) -> str:
    """The findings, the verdicts and what they mean, each scenario's arms and verdicts, how it was
    measured, where it comes from.
    """
    parts = _markdown_answer(tables)
    for place in scenarios_of(tables):
        parts += _scenario(place, is_own=tables.protocol.table == "own")
    parts += ["### How this was measured", *map(escaped, protocol_text(tables))]
    found = provenance_facts(tables)
    parts.append("\n".join(f"- {one.term}: {escaped(one.text)}" for one in found))
    return "\n\n".join(part for part in parts if part) + "\n"


def render_answer(tables: Tables) -> str:
    """The findings, the verdicts and what they mean: the beginning of the whole."""
    return "\n\n".join(part for part in _markdown_answer(tables) if part) + "\n"


def _markdown_answer(tables: Tables) -> list[str]:
    pooled = tables.tables[0]
    is_own = tables.protocol.table == "own"
    meanings = "; ".join(f"*{kind}*: {meaning}" for kind, meaning in MEANINGS.items())
    return [
        f"## {escaped(tables.protocol.comparison)}",
        escaped((tables.provenance and tables.provenance.about) or ""),
        f"**{escaped(pooled.title)}.** {escaped(summary(tables))}",
        *(f"> **{escaped(warning)}**" for warning in warnings(tables)),
        _list([*findings(tables), *split_findings(tables)]),
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
