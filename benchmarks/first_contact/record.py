"""Results as JSON lines, one for each figure as soon as it is known, and their tables in Markdown."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

KEYS = ("part", "table", "row", "at")


class Record:
    """Appends lines to a results file and prints them; values of one row may come in several lines."""

    def __init__(self, file: Path, part: str = "") -> None:
        self.file, self.part, self.since = file, part, time.monotonic()

    def add(self, table: str, row: str, **values: Any) -> None:
        """Record values of a row of a table; floats with six digits."""
        rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in values.items()}
        entry = {"part": self.part, "table": table, "row": row, "at": round(time.monotonic() - self.since, 1)}
        line = json.dumps(entry | rounded)
        with self.file.open("a", encoding="utf-8") as file:  # opened anew: the parts are processes of their own
            file.write(line + "\n")
        print(line, flush=True)


def read(file: Path) -> list[dict[str, Any]]:
    """The lines of a results file; one that was cut off by the end of a process is left out."""
    found = []
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"no JSON, left out: {line[:80]}", flush=True)
    return found


def value_of(file: Path, table: str, row: str, key: str) -> Any:
    """The last value that was recorded, or None."""
    lines = [line for line in read(file) if (line["table"], line["row"]) == (table, row) and key in line]
    return lines[-1][key] if lines else None


def tables(lines: Iterable[dict[str, Any]]) -> str:
    """Every table in Markdown, in the order of the lines: rows in their order, a column for each name of a value."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for line in lines:
        row = found.setdefault(line["table"], {}).setdefault(line["row"], {})
        row |= {key: value for key, value in line.items() if key not in KEYS}
    texts = []
    for name, rows in found.items():
        columns = list(dict.fromkeys(key for row in rows.values() for key in row))
        heads = " | ".join(column.replace("_", " ") for column in columns)
        body = [f"| {row} | {' | '.join(shown(values.get(key)) for key in columns)} |" for row, values in rows.items()]
        texts.append("\n".join([f"### {name}\n", f"| | {heads} |", f"|---|{'--:|' * len(columns)}", *body]))
    return "\n\n".join(texts)


def shown(value: Any) -> str:
    """A value as a cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value).replace("|", "/").replace("\n", " ")
