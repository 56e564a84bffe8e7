"""The report as short Markdown, for a pull request."""

import re
from collections.abc import Iterator, Sequence

from tlsearch.report.comparison import ComparisonReport, Fact, Place, Row
from tlsearch.report.context import Report, SearchReport
from tlsearch.report.wording import Absent, plain, printable, value_text

TOP = 5
WORST_CLASSES = 3
EXAMPLES = 2


def render_markdown(report: Report, *, whole: bool = True) -> str:
    """The answer first, then what it rests on and where it comes from, unless the `whole` is not
    wanted.
    """
    parts = [f"## {escaped(report.name)}", escaped(report.about or "")]
    if isinstance(report, ComparisonReport):
        parts += [*_findings(report), *(_behind(report) if whole else ())]
    else:
        parts += [*_answer(report), *(_details(report) if whole else ())]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """A text on one line that Markdown shows letter by letter, also within a table."""
    return re.sub(r"([\\`*_\[\]<>#|~@&])", r"\\\1", " ".join(printable(text).split()))


def _answer(data: SearchReport) -> list[str]:
    answer = data.answer
    parts = [f"**{escaped(answer.headline)}** {escaped(answer.result)}"]
    parts += [f"> **{escaped(warning)}**" for warning in answer.warnings]
    if answer.rows:
        head = ("", f"test {answer.metric.label} (95 % interval)", "the winner's gain", "")
        parts.append(table_text(head, answer.rows))
    if answer.scores:
        rows = [tuple(map(escaped, row)) for row in answer.scores.rows]
        parts.append(table_text(tuple(map(escaped, answer.scores.head)), rows))
    return [*parts, *map(escaped, answer.notes)]


def _details(data: SearchReport) -> Iterator[str]:
    """Parameters, the best trials, networks, classes, images, and where it all comes from."""
    answer, metric, evaluation = data.answer, data.summary.metric, data.evaluation
    searched = [
        (f"`{p.name}`", escaped(p.value), escaped(p.searched))
        for p in answer.parameters
        if p.searched
    ]
    if searched:
        yield table_text(("searched", "value", "range"), searched)
    best = ", ".join(f"{row.number} ({value_text(row.value, metric)})" for row in data.ranked[:TOP])
    ranked = f" Best by {plain(metric)}: {best}." if best else ""
    yield f"Trials: {escaped(answer.status)}.{ranked}"
    if answer.networks is not None:
        yield table_text(answer.networks.head, answer.networks.rows)
        yield answer.networks.verdict
    if not isinstance(evaluation, Absent):
        rows = [row for row in evaluation.per_class if row.images]
        worst = sorted(rows, key=lambda row: row.f1)[:WORST_CLASSES]
        text = ", ".join(f"{escaped(row.name)} {row.f1:.2f}" for row in worst)
        yield f"Hardest classes by F1 ({evaluation.part} part): {text}."
    yield from _images(data)
    yield _provenance(data)


def _images(data: SearchReport) -> list[str]:
    found = data.images
    parts = [f"Data: {escaped(found.result)}"]
    if found.findings:
        rows = [
            (escaped(f.title), escaped(f.text), escaped(f.effect), _examples(f.files, f.more))
            for f in found.findings
        ]
        parts.append(table_text(("found", "what", "what happened", "such as"), rows))
    parts += [escaped(sentence) for sentence in (*found.unseen, data.answer.similarity) if sentence]
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


def _provenance(data: SearchReport) -> str:
    found = data.provenance
    fingerprint = found.facts.get("data", "not known")
    command = f"run as `{_code(found.command)}` · " if found.command else ""
    lines = [
        f"Cost: {escaped(found.cost)}.",
        f"{command}data `{fingerprint}` · revision `{found.revision or 'not known'}` · "
        f"tlsearch {found.versions['tlsearch']}, torch {found.versions.get('torch', 'not found')}",
        *(f"Weights: {escaped(text)}." for text in found.as_json()["weights"].values()),
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


# Of a comparison.


def _findings(report: ComparisonReport) -> list[str]:
    """The findings, the verdicts and what they mean."""
    meanings = "; ".join(f"*{kind}*: {meaning}" for kind, _, meaning in report.meanings)
    called = "Better and worse are *supported* and *contradicted*. "
    return [
        f"**{escaped(report.title)}.** {escaped(report.summary)}",
        *(f"> **{escaped(warning)}**" for warning in report.warnings),
        _list([*report.findings, *report.split_findings]),
        _verdicts(report.rows, is_own=report.is_own),
        f"{called}{meanings}." if report.is_own else meanings,
    ]


def _behind(report: ComparisonReport) -> list[str]:
    """Each scenario's arms and verdicts, how it was measured, where it comes from."""
    parts = [part for place in report.scenarios for part in _place(place, is_own=report.is_own)]
    facts = "\n".join(f"- {one.lead}: {escaped(one.text)}" for one in report.provenance)
    return [*parts, "### How this was measured", *map(escaped, report.protocol), facts]


def _list(found: Sequence[Fact]) -> str:
    return "\n".join(f"- **{escaped(one.lead)}:** {escaped(one.text)}" for one in found)


def _verdicts(rows: Sequence[Row], *, is_own: bool) -> str:
    lines = []
    for row in rows:
        strategy = row.id if row.id == row.strategy else f"{row.strategy} ({row.id})"
        for side, answers in row.cells.items():
            for one in answers:
                effect = "; ".join(p for p in (one.effect, one.settled_by, one.sides) if p)
                claim = one.says if is_own else f"{side}: {one.says}"
                texts = (strategy, claim, effect, one.basis)
                name, claim, effect, basis = map(escaped, texts)
                lines.append((name, claim, f"**{one.verdict}**", effect, basis))
    first = "arm" if is_own else "strategy"
    return table_text((first, "claim", "verdict", "measured (95 % interval)", "from"), lines)


def _place(place: Place, *, is_own: bool) -> list[str]:
    head = tuple(map(escaped, place.head))
    return [
        f"### {escaped(place.name)}",
        escaped(place.said),
        escaped(place.measured),
        *(f"> **{escaped(warning)}**" for warning in place.warnings),
        escaped(place.finding),
        table_text(head, [tuple(map(escaped, line)) for line in place.arms]),
        *([_verdicts(place.rows, is_own=is_own)] if place.rows else ()),
    ]
