"""What was measured: a ``Row`` is one kind of work, with a ``Sample`` a round for each subject that did it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

SHERD = "Sherd"

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: ``value`` in the row's unit; processor microseconds per request by role; what else was reported."""

    value: float
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Row:
    """``name`` is stable: targets find rows by it. ``samples`` by subject, in the order of the rounds.

    Rows of one ``series`` are a curve on a plot, ``at`` being the place on its x axis.
    """

    section: str
    name: str
    unit: str
    better: Better = "higher"
    series: str = ""
    at: float = 0.0
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def add(self, subject: str, sample: Sample) -> None:
        self.samples.setdefault(subject, []).append(sample)

    def median(self, subject: str) -> float | None:
        """Over the rounds; None if the subject did not do this work."""
        samples = self.samples.get(subject)
        return median(sample.value for sample in samples) if samples else None

    def spread(self, subject: str) -> float:
        """From the least to the greatest round, as a fraction of the median; 0 if there is nothing to spread."""
        values = [sample.value for sample in self.samples.get(subject, [])]
        middle = median(values) if values else 0.0
        return (max(values) - min(values)) / middle if middle else 0.0

    def cpu_us(self, subject: str) -> dict[str, float]:
        """Medians over the rounds, by role."""
        samples = self.samples.get(subject, [])
        roles = dict.fromkeys(role for sample in samples for role in sample.cpu_us)
        return {role: median(sample.cpu_us.get(role, 0.0) for sample in samples) for role in roles}

    def to_json(self) -> dict[str, Any]:
        """With medians and spreads, for those who read results.json without this code."""
        subjects = {
            subject: {
                "median": self.median(subject),
                "spread": round(self.spread(subject), 4),
                "values": [sample.value for sample in samples],
                "cpu_us_per_request": {role: round(us, 3) for role, us in self.cpu_us(subject).items()},
                "details": [dict(sample.detail) for sample in samples],
            }
            for subject, samples in self.samples.items()
        }
        return {
            "section": self.section,
            "name": self.name,
            "unit": self.unit,
            "better": self.better,
            "series": self.series,
            "at": self.at,
            "subjects": subjects,
        }


@dataclass(slots=True)
class Results:
    """All rows of a run, the subjects that could not take part with the reason, remarks on the method, and failures:

    of what was begun and broke off, wrong answers above all.
    """

    rows: list[Row] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    def curve(self, section: str, series: str, subject: str) -> Iterator[tuple[float, Row]]:
        """Place and row, in order of places, of the rows of a series that the subject has samples in."""
        rows = (row for row in self.rows if (row.section, row.series) == (section, series) and subject in row.samples)
        return iter(sorted(((row.at, row) for row in rows), key=lambda point: point[0]))

    def open_row(
        self, section: str, name: str, unit: str, better: Better = "higher", series: str = "", at: float = 0.0
    ) -> Row:
        """The row ``name``, made if this is the first time it is asked for."""
        row = self.row(name)
        if row is None:
            row = Row(section, name, unit, better, series, at)
            self.rows.append(row)
        return row
