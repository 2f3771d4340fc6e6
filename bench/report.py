"""The results: a table to read, a plot to see, JSON to compare with later."""

import json
import sys
from pathlib import Path
from typing import Any

BAR_PX, LEFT_PX, WIDTH_PX = 28, 190, 760
COLOURS = {"line": "#888888", "shape": "#2f6f4f"}


def write(results: dict[str, Any], folder: Path) -> None:
    """Write `<date>.json`, `<date>.md` and `<date>.svg`, and print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = results["at"].replace(":", "")
    table = as_table(results)
    (folder / f"{stem}.json").write_text(json.dumps(results, indent=1))
    (folder / f"{stem}.md").write_text(table)
    if results["shapes"]:
        (folder / f"{stem}.svg").write_text(as_svg(results))
    sys.stdout.write(f"{table}\n{folder / stem}.{{json,md,svg}}\n")


def as_table(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = [f"{results['at']}, {results['machine']}", ""]
    if "line" in results:
        line = results["line"]
        wrote = f"{line['rows_per_order']} rows in {line['transactions_per_order']} transactions an order"
        lines += [f"pgbench's line: **{line['orders_per_s']} orders/s** ({wrote}, unbatched, prepared)", ""]
    for name, study in results.get("studies", {}).items():
        lines += [f"## {name}", "", study["about"], "", *_table(study["rows"]), ""]
    if not results["shapes"]:
        return "\n".join(lines)
    lines += [
        "| shape | orders/s | pgbench's line before and after | of the line | audit |",
        "|---|---|---|---|---|",
    ]
    for name, told in results["shapes"].items():
        audit = told["audit"] if isinstance(told["audit"], str) else "FINDINGS"
        line = " and ".join(map(str, told["line_per_s"]))
        lines.append(f"| {name} | {told['orders_per_s']} | {line} | {told.get('ratio', '')} | {audit} |")
    lines += [
        "",
        "| shape | share of its best | rate | POST p50 / p95 / p99 | completed p50 / p95 / p99 |",
        "|---|---|---|---|---|",
    ]
    for name, told in results["shapes"].items():
        for share, latency in told.get("latency", {}).items():
            lines.append(
                f"| {name} | {float(share):.0%} | {latency['rate_per_s']}/s | {_ms(latency['post_ms'])} | "
                f"{_ms(latency['completed_ms'])} |"
            )
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    names = list(rows[0])
    return [
        f"| {' | '.join(names)} |",
        f"|{'---|' * len(names)}",
        *(f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in rows),
    ]


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} x {name}" for name, count in value.items())
    return "" if value is None else str(value)


def as_svg(results: dict[str, Any]) -> str:
    """Bars: pgbench's line, and each shape."""
    bars = [(name, told["orders_per_s"], COLOURS["shape"]) for name, told in results["shapes"].items()]
    if "line" in results:
        bars.insert(0, ("pgbench, the same rows", results["line"]["orders_per_s"], COLOURS["line"]))
    most = max(rate for _, rate, _ in bars)
    height = (BAR_PX + 12) * len(bars) + 40
    drawn = []
    for number, (name, rate, colour) in enumerate(bars):
        y = 30 + number * (BAR_PX + 12)
        width = rate / most * (WIDTH_PX - LEFT_PX - 90)
        drawn += [
            f'<text x="{LEFT_PX - 10}" y="{y + 19}" text-anchor="end">{name}</text>',
            f'<rect x="{LEFT_PX}" y="{y}" width="{width:.0f}" height="{BAR_PX}" fill="{colour}"/>',
            f'<text x="{LEFT_PX + width + 8:.0f}" y="{y + 19}">{rate}</text>',
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{height}" font-family="sans-serif" '
        f'font-size="14"><text x="{LEFT_PX}" y="18">complete orders a second</text>{"".join(drawn)}</svg>\n'
    )


def _ms(values: dict[str, float]) -> str:
    return " / ".join(f"{values[name]:.0f}" for name in ("p50", "p95", "p99")) + " ms" if values else ""
