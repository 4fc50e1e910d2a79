"""The results as Markdown: the verdict on every target, then all rows with spread and cost."""

from collections.abc import Iterable, Mapping

from peers.rows import SHERD, Results, Row
from peers.targets import TARGETS, Judgement, judge

WARNINGS = ("NOT QUIET", "NOT DURABLE", "DRIFT")
"""How remarks begin that a reader has to see before any figure."""

MARK = {"met": "**met**", "not met": "not met", "not measured": "not measured"}


def markdown(results: Results, machine: Mapping[str, object]) -> str:
    """The whole page."""
    warnings = [remark for remark in results.remarks if remark.startswith(WARNINGS)]
    parts = ["# Sherd beside its peers", facts(machine), *(f"**{warning}**" for warning in warnings)]
    if results.failures:
        parts += ["## Failed", bullets(_first_line(failure) for failure in results.failures)]
    parts += ["## Targets", target_table(results)]
    for section in dict.fromkeys(row.section for row in results.rows):
        rows = [row for row in results.rows if row.section == section]
        parts += [f"## {section.capitalize()}", section_table(rows)]
        if cost := cost_table(rows):
            parts += ["Processor microseconds per request:", cost]
    if results.absent:
        parts += ["## Absent", bullets(f"{name}: {_first_line(reason)}" for name, reason in results.absent.items())]
    if results.remarks:
        parts += ["## Method", bullets(results.remarks)]
    return "\n\n".join(parts) + "\n"


def facts(machine: Mapping[str, object]) -> str:
    """What the run ran on, one line."""
    return ", ".join(f"{name}: {value}" for name, value in machine.items())


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table; the first column left, the others right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def target_table(results: Results) -> str:
    """A line for every target there is, so that nothing is left out quietly."""
    head = ["work", "ours", "peer", "theirs", "ours / peer", "target", "verdict"]
    return table(head, (_target_line(judge(target, results)) for target in TARGETS))


def _target_line(judgement: Judgement) -> list[str]:
    target = judgement.target
    sign = {"higher": ">=", "lower": "<=", "": "bound"}[judgement.better]
    bound = f"{sign} {target.bound:g}x" if target.peers else f"{sign} {figure(target.bound)} {judgement.unit}".rstrip()
    ratio = f"{judgement.figure:.2f}" if target.peers and judgement.figure is not None else ""
    peer = judgement.peer or " or ".join(target.peers)
    ours = f"{figure(judgement.ours)} {judgement.unit}".strip()
    return [target.work, ours, peer, figure(judgement.theirs), ratio, bound, MARK[judgement.verdict]]


def section_table(rows: list[Row]) -> str:
    """Medians with spreads; the ratio of ours to each peer in brackets."""
    subjects = list(dict.fromkeys(subject for row in rows for subject in row.samples))
    return table(
        ["", "unit", *subjects], ([row.name, row.unit, *(_cell(row, who) for who in subjects)] for row in rows)
    )


def _cell(row: Row, subject: str) -> str:
    middle = row.median(subject)
    if middle is None:
        return ""
    half = row.spread(subject) * 50
    text = f"{figure(middle)} ±{f'{half:.0f}%' if half < 1000 else 'more than 999%'}"
    ours = row.median(SHERD)
    return text if subject == SHERD or not ours or not middle else f"{text} ({ours / middle:.2f}x)"


def cost_table(rows: list[Row]) -> str:
    """Microseconds by subject and role; empty if no row counted them."""
    lines = []
    for row in rows:
        for subject in row.samples:
            costs = row.cpu_us(subject)
            if costs:
                told = ", ".join(f"{role} {us:.1f}" for role, us in costs.items() if us >= 0.05)
                lines.append([row.name, subject, f"{sum(costs.values()):.1f}", told])
    return table(["", "subject", "all", "by process"], lines) if lines else ""


def figure(value: float | None) -> str:
    """Three significant digits at most below 1000, whole numbers with commas above; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
