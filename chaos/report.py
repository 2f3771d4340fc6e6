"""What a run came to, as JSON for machines and Markdown for people.

Invariant: a report says what was not struck as well as what was.
"""

import json
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

from chaos.faults import KINDS
from chaos.run import Outcome

SHOWN = 40
"""So many broken promises are written out."""


def document(outcome: Outcome) -> dict[str, Any]:
    """Everything that is known of a run."""
    journal = outcome.journal
    assert journal is not None
    wanted, verdict = outcome.wanted, outcome.verdict
    answers = Counter(f"{said.did} {said.status} {said.problem or ''}".strip() for said in journal.said)
    waits = sorted(said.answered_s - said.began_s for said in journal.said)
    return {
        "seed": wanted.seed,
        "database": "postgres",
        "broker": wanted.broker,
        "length_s": wanted.length_s,
        "customers": wanted.customers,
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "faults": {
            kind: {
                "drawn": sum(fault.kind == kind for fault in outcome.faults),
                "struck": sum(one.struck and one.fault.kind == kind for one in outcome.struck),
                "recovered_s": _spread(_recoveries(outcome, kind)),
            }
            for kind in KINDS
        },
        "small_disk": outcome.small_disk,
        "orders": dict(sorted(verdict.ends.items())),
        "answers": dict(sorted(answers.items())),
        "answered_s": _spread(waits),
        "tried_more_than_once": sum(said.tries > 1 for said in journal.said),
        "met_on_the_way": dict(journal.met.most_common()),
        "ended_by_themselves": dict(outcome.ended),
        "stopped_with": outcome.statuses,
        "rest_s": round(verdict.rest_s, 1),
        "audited": verdict.audited,
        "asked_again": verdict.asked_again,
        "errors_logged": dict(outcome.errors.most_common()),
        "broken": outcome.broken,
    }


def markdown(outcome: Outcome, day: date) -> str:
    """The page that is kept under docs/chaos."""
    told = document(outcome)
    minutes, waits = told["length_s"] / 60, told["answered_s"]
    lines = [
        f"# Chaos: PostgreSQL and {told['broker']}, {day.isoformat()}",
        "",
        (
            f"{minutes:g} minutes of faults, seed {told['seed']}, {told['customers']} customers, on {told['machine']}. "
            f"**Broken promises: {len(told['broken'])}.**"
        ),
        "",
        (
            f"The same again: `make chaos MINUTES={minutes:g} BROKER={told['broker']} SEED={told['seed']}`. "
            "The faults come again; what each of them meets depends on the machine."
        ),
        "",
        *(_broken(told["broken"])),
        "## Faults",
        "",
        (
            "Recovery: from the end of a fault to the first order that was placed after it and accepted. Other faults "
            "were at work at the same time, so it is an upper bound."
        ),
        "",
        "| fault | what it does | drawn | struck | recovered, median s | worst s |",
        "|---|---|---|---|---|---|",
        *(
            f"| {kind} | {KINDS[kind].does} | {row['drawn']} | {row['struck']} | "
            f"{row['recovered_s'].get('median', '')} | {row['recovered_s'].get('worst', '')} |"
            for kind, row in told["faults"].items()
        ),
        "",
        *([] if told["small_disk"] else ["PostgreSQL had no disk of its own here, so none was filled.", ""]),
        *_table("Orders by their end", "end", told["orders"]),
        *_table("What customers were told", "answer", told["answers"]),
        (
            f"{told['tried_more_than_once']} requests had to be sent more than once. Seconds to an answer: "
            f"{waits.get('median')} in the median, {waits.get('p95')} at the 95th percentile, "
            f"{waits.get('worst')} at worst."
        ),
        "",
        *_table("Met on the way", "what", told["met_on_the_way"]),
        "## Afterwards",
        "",
        (
            f"Everything was restarted and came to rest in {told['rest_s']} s. The auditor looked at "
            f"{', '.join(f'{count} {name}' for name, count in told['audited'].items())}; "
            f"{told['asked_again']} requests were sent once more with their keys."
        ),
        "",
        *_table("Processes that ended by themselves", "process", told["ended_by_themselves"]),
        *_table("Errors in the logs", "event", told["errors_logged"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def story(outcome: Outcome) -> str:
    """For a terminal: what broke, with the faults that came before, or that nothing did."""
    broken = outcome.broken
    if not broken:
        return f"No promise was broken: {dict(outcome.verdict.ends)}, at rest after {outcome.verdict.rest_s:.0f} s."
    wanted = outcome.wanted
    struck = "\n".join(f"  {one.fault.told()}" for one in outcome.struck if one.struck)
    return (
        f"{len(broken)} promises were broken (seed {wanted.seed}, {wanted.broker}):\n"
        + "\n".join(f"  {one}" for one in broken[:SHOWN])
        + f"\nThe faults that struck:\n{struck}\nThe journal and the logs are in {wanted.folder}."
    )


def as_json(outcome: Outcome) -> str:
    """The document, to be read by people as well."""
    return json.dumps(document(outcome), indent=1) + "\n"


def _recoveries(outcome: Outcome, kind: str) -> list[float]:
    journal = outcome.journal
    assert journal is not None
    accepted = sorted((s.began_s, s.answered_s) for s in journal.of("order") if s.status in {201, 202})
    found = []
    for one in outcome.struck:
        if one.struck and one.fault.kind == kind:
            later = [answered for began, answered in accepted if began >= one.over_s]
            if later:
                found.append(min(later) - one.over_s)
    return sorted(found)


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Of sorted values."""
    if not values:
        return {}
    last = len(values) - 1
    marks = {"median": last // 2, "p95": int(last * 0.95), "worst": last}
    return {name: round(values[place], 2) for name, place in marks.items()}


def _broken(broken: Sequence[str]) -> list[str]:
    if not broken:
        return []
    more = [f"- … and {len(broken) - SHOWN} more"] if len(broken) > SHOWN else []
    return ["## Broken promises", "", *(f"- {one}" for one in broken[:SHOWN]), *more, ""]


def _table(title: str, of_what: str, counts: dict[str, int]) -> list[str]:
    if not counts:
        return []
    rows = [f"| {name} | {count} |" for name, count in counts.items()]
    return [f"## {title}", "", f"| {of_what} | how many |", "|---|---|", *rows, ""]
