"""Rows of the table: what was tried, and how it ended."""

import sys
import time
import traceback
from dataclasses import dataclass, field


class Fail(Exception):
    """A row ended otherwise than it must."""


class Skip(Exception):
    """A row could not be tried on this machine."""


class DoesNotApply(Exception):
    """A row that cannot exist: the client speaks no protocol that the instance offers. Holds the reason."""


@dataclass
class Row:
    client: str
    direction: str
    what: str
    result: str
    detail: str
    seconds: float


@dataclass
class Table:
    pattern: str = ""
    rows: list = field(default_factory=list)

    def row(self, client: str, direction: str, what: str, body, needed=False) -> bool:
        """Runs `body` and notes how it ended. What it returns is the detail of the row. One that is `needed` by others
        runs whatever was asked for."""
        if not needed and self.pattern and self.pattern not in f"{client} {direction} {what}":
            return False
        start = time.monotonic()
        try:
            result, detail = "ok", body() or ""
        except Fail as problem:
            result, detail = "FAIL", str(problem)
        except Skip as reason:
            result, detail = "skip", str(reason)
        except DoesNotApply as reason:
            result, detail = "n/a", str(reason)
        except Exception:
            result, detail = "FAIL", traceback.format_exc()
        row = Row(client, direction, what, result, detail, time.monotonic() - start)
        self.rows.append(row)
        shown = detail if result != "FAIL" else "see below"
        print(f"  {result:4}  {client}: {direction}, {what} ({row.seconds:.1f} s) {shown}", file=sys.stderr, flush=True)
        return result == "ok"

    def count(self, result: str) -> int:
        return sum(row.result == result for row in self.rows)

    def print(self):
        cells = [("client", "direction", "what", "result", "detail")]
        for row in self.rows:
            detail = row.detail.strip().splitlines()[0][:90] if row.detail.strip() else ""
            cells.append((row.client, row.direction, row.what, row.result, detail))
        widths = [max(len(line[column]) for line in cells) for column in range(4)]
        for number, line in enumerate(cells):
            print("  ".join(text.ljust(width) for text, width in zip(line, widths)) + "  " + line[4])
            if number == 0:
                print("  ".join("-" * width for width in widths) + "  ------")
        for row in self.rows:
            if row.result == "FAIL":
                print(f"\nFAIL {row.client}: {row.direction}, {row.what}\n{row.detail.rstrip()}")
