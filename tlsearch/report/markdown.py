"""The report as short Markdown, for a pull request."""

import re
from collections.abc import Sequence

from tlsearch.report import networks
from tlsearch.report.absent import Absent
from tlsearch.report.answer import find_answer, gain_rows, status
from tlsearch.report.likeness import likeness
from tlsearch.report.provenance import cost_text
from tlsearch.report.rows import ReportData
from tlsearch.report.wording import accuracy_text, plain, printable, value_text

TOP = 5
WORST_CLASSES = 3
EXAMPLES = 2


def render_markdown(data: ReportData) -> str:
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
    if answer.gains:
        assert answer.accuracy is not None
        rows = [
            ("**the winner**", accuracy_text(answer.accuracy), "", ""),
            *gain_rows(answer),
        ]
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
    told = f"Trials: {escaped(status(data))}."
    return [f"{told} Best by {plain(metric)}: {best}." if best else told]


def _networks(data: ReportData) -> list[str]:
    rows = networks.table(data)
    return [table_text(networks.HEAD, rows), networks.verdict(data)] if rows else []


def _classes(data: ReportData) -> list[str]:
    found = data.evaluation
    if isinstance(found, Absent):
        return []
    rows = [row for row in found.per_class if row.images]
    worst = sorted(rows, key=lambda row: row.f1)[:WORST_CLASSES]
    told = ", ".join(f"{escaped(row.name)} {row.f1:.2f}" for row in worst)
    return [f"Hardest classes by F1 ({found.part} part): {told}."]


def _images(data: ReportData) -> list[str]:
    found = data.images
    parts = [f"Data: {escaped(found.result)}"]
    if found.findings:
        rows = [
            (escaped(f.title), escaped(f.text), escaped(f.effect), _examples(f.files, f.more))
            for f in found.findings
        ]
        parts.append(table_text(("found", "what", "what happened", "such as"), rows))
    parts += [escaped(sentence) for sentence in (*found.unseen, likeness(data)) if sentence]
    if found.classes:
        sums = map(sum, zip(*(row.counts for row in found.classes), strict=True))
        told = ", ".join(f"{total:,} {part}" for part, total in zip(found.parts, sums, strict=True))
        counts = [sum(row.counts) for row in found.classes]
        even = f"{min(counts):,} to {max(counts):,}" if min(counts) < max(counts) else counts[0]
        fold = f" ({found.fold})" if found.fold else ""
        parts.append(f"{len(counts):,} classes of {even} images{fold}: {told}.")
    return parts


def _examples(files: Sequence[str], more: int) -> str:
    shown = [escaped(file) for file in files[:EXAMPLES]]
    more += len(files) - len(shown)
    return "; ".join([*shown, f"and {more:,} more"] if more else shown)


def _provenance(data: ReportData) -> str:
    found = data.provenance
    fingerprint = found.facts.get("data", "not known")
    asked = f"run as `{_code(found.asked)}` · " if found.asked else ""
    lines = [
        f"Cost: {escaped(cost_text(found))}.",
        f"{asked}data `{fingerprint}` · revision `{found.revision or 'not known'}` · "
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
