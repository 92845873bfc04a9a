"""The sections of docs/figures/guarantees.json: what each runs, and what its table makes of the samples."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, Final

from benchmarks.section import figure
from fanout.lab.broken import in_order
from fanout.testing.breakages.patches import LAYERS, Breakage, breakages
from fanout.testing.prove.scenarios import SCENARIOS as PROGRAMS
from fanout.testing.world import met
from tests.breakages import httpcore_pool
from tests.breakages.layers import CONTROL, control
from tests.lab import breakages as lab_breakages
from tests.mutation.rooms import ROOMS, Room
from tests.sweep.actions import ACTIONS
from tests.sweep.situations import ENDPOINTS, SITUATIONS

Table = tuple[Sequence[str], list[list[str]]]
"""The columns, and the rows."""


@dataclass(frozen=True, slots=True)
class Section:
    """command: prints the samples as JSON, and ends with 0 if all is well. minutes: on two cores.

    paths: what it measures besides the product. table: made of the samples. wrong: how they contradict
    themselves or the lists in the code, each as a sentence. main: the figures for the record of results.
    quiet: whether only a machine that does nothing else gives the figure.
    """

    title: str
    command: str
    minutes: float
    paths: tuple[str, ...]
    table: Callable[[Any], Table]
    wrong: Callable[[Any], list[str]]
    main: Callable[[Any], dict[str, float]]
    quiet: bool = False


def differ(what: str, found: Sequence[str], known: Sequence[str]) -> list[str]:
    """A sentence, if two lists of names are not the same."""
    gone, new = sorted({*found} - {*known}), sorted({*known} - {*found})
    if gone or new:
        return [f"the {what} are no longer those of the code: {', '.join(gone)} gone, {', '.join(new)} new"]
    return [] if list(found) == list(known) else [f"the {what} are in another order than in the code"]


# --- simulation runs


def _worlds_table(samples: Any) -> Table:
    runs = samples["runs"]
    rarest = min(samples["met"], key=samples["met"].__getitem__)
    return ("of the last run", ""), [
        ["simulation runs", f"{len(runs['seed']):,}"],
        ["requests", f"{sum(runs['requests']):,}"],
        ["requests with a broken guarantee", f"{sum(runs['violations']):,}"],
        [
            "situations that must occur, and did",
            f"{sum(map(bool, samples['met'].values()))} of {len(samples['met'])}",
        ],
        [f"the rarest of them: {rarest}", f"{samples['met'][rarest]:,}"],
        ["requests per CPU-hour", f"{_per_cpu_hour(runs):,}"],
    ]


def _per_cpu_hour(runs: Any) -> int:
    return round(float(sum(runs["requests"])) / float(sum(runs["cpu_s"])) * 3600)


def _worlds_wrong(samples: Any) -> list[str]:
    runs = samples["runs"]
    wrong = differ("situations of the simulation", list(samples["met"]), list(met.SITUATIONS))
    if runs["seed"] != list(range(len(runs["seed"]))):
        wrong.append("a seed is left out")
    if {len(column) for column in runs.values()} != {len(runs["seed"])}:
        wrong.append("a run lacks a sample")
    totals = {
        "seeds": len(runs["seed"]),
        "requests": sum(runs["requests"]),
        "violations": sum(runs["violations"]),
    }
    wrong += [
        f"{name}: {samples[name]:,} is not the sum of its samples, {total:,}"
        for name, total in totals.items()
        if samples[name] != total
    ]
    if abs(samples["requests_per_cpu_hour"] - _per_cpu_hour(runs)) > 0.001 * samples["requests_per_cpu_hour"]:
        wrong.append("the requests per CPU-hour do not follow from the samples")
    count = sum(min(each, met.MOST_PER_RUN) for each in runs["requests"])
    if missed := {*samples["missed"], *met.missed(samples["met"], count)}:
        wrong.append(f"not met: {', '.join(sorted(missed))}")
    return wrong


def _worlds_main(samples: Any) -> dict[str, float]:
    runs = samples["runs"]
    return {
        "simulated requests": sum(runs["requests"]),
        "simulated requests with a broken guarantee": sum(runs["violations"]),
        "simulated requests per CPU-hour": _per_cpu_hour(runs),
    }


# --- the sweep


def _sweep_total(samples: Any) -> Counter[str]:
    total: Counter[str] = Counter()
    for sweeps in samples.values():
        for each in sweeps:
            total.update(each["runs"])
    return total


def _sweep_broken(samples: Any) -> int:
    return sum(each["broken"] for sweeps in samples.values() for each in sweeps)


def _sweep_table(samples: Any) -> Table:
    total = _sweep_total(samples)
    points = sum(each["points"] for sweeps in samples.values() for each in sweeps)
    return ("interruption", "runs"), [
        *([action.name, f"{total[action.name]:,}"] for action in ACTIONS),
        [
            f"all, at {points:,} points in {len(samples)} situations and {len(ENDPOINTS)} endpoints",
            f"{total.total():,}",
        ],
        ["guarantees broken", f"{_sweep_broken(samples):,}"],
    ]


def _sweep_wrong(samples: Any) -> list[str]:
    wrong = differ("situations of the sweep", list(samples), [situation.name for situation in SITUATIONS])
    wrong += differ(
        "interruptions of the sweep", sorted(_sweep_total(samples)), sorted(a.name for a in ACTIONS)
    )
    seeds = max(each["seed"] for sweeps in samples.values() for each in sweeps) + 1
    for name, sweeps in samples.items():
        if [(each["endpoint"], each["seed"]) for each in sweeps] != [
            (e, n) for e in ENDPOINTS for n in range(seeds)
        ]:
            wrong.append(f"{name}: an endpoint or a seed is left out")
        if any(count > each["points"] for each in sweeps for count in each["runs"].values()):
            wrong.append(f"{name}: more runs of one interruption than there are points")
    return wrong


def _sweep_main(samples: Any) -> dict[str, float]:
    return {
        "runs of the sweep": _sweep_total(samples).total(),
        "guarantees broken in the sweep": _sweep_broken(samples),
    }


# --- every schedule up to the bound


def _prove_table(samples: Any) -> Table:
    programs = samples["scenarios"]
    levels = range(samples["deviations"] + 1)
    rows = [
        [
            f"`{name}`: {each['title']}",
            *(f"{each['runs_by_deviations'][number]:,}" for number in levels),
            f"{each['traces']:,}",
            f"{each['states']:,}",
        ]
        for name, each in programs.items()
    ]
    totals = [sum(each["runs_by_deviations"][number] for each in programs.values()) for number in levels]
    rows.append(["all", *(f"{one:,}" for one in (*totals, samples["traces"], samples["states"]))])
    rows.append([f"guarantees broken in {samples['runs']:,} schedules", *[""] * len(levels), "", "0"])
    return (
        "program",
        *(f"{number} deviation{'' if number == 1 else 's'}" for number in levels),
        "distinct traces",
        "distinct states",
    ), rows


def _prove_wrong(samples: Any) -> list[str]:
    programs = samples["scenarios"]
    wrong = differ("programs of fanout prove", list(programs), list(PROGRAMS))
    if samples["deviations"] < 2 or any(
        len(each["runs_by_deviations"]) != samples["deviations"] + 1 for each in programs.values()
    ):
        wrong.append("the bound is lower than two deviations, or a program was not run up to it")
    if samples["failing"] is not None:
        wrong.append(f"a schedule broke a guarantee: {samples['failing']['repeat']}")
    wrong += [
        f"the {what} are not the sum over the programs"
        for what in ("runs", "traces", "states")
        if samples[what] != sum(each[what] for each in programs.values())
    ]
    wrong += [
        f"{name}: its runs are not those of each number of deviations"
        for name, each in programs.items()
        if each["runs"] != sum(each["runs_by_deviations"])
    ]
    return wrong


def _prove_main(samples: Any) -> dict[str, float]:
    return {name: samples[key] for name, key in (("schedules of fanout prove", "runs"), ("states", "states"))}


# --- breakages, in every layer and in the lab


def _breakages_table(samples: Any) -> Table:
    known = _breakages_and_control()
    rows = [
        [known[name].title, ", ".join(known[name].guarantees), *(_catch(catches[layer]) for layer in LAYERS)]
        for name, catches in samples.items()
        if name in known
    ]
    return ("breakage", "breaks", *LAYERS), rows


def _breakages_and_control() -> dict[str, Breakage]:
    known = breakages()
    return {CONTROL: control(known.values()), **known}


def _catch(catch: Any) -> str:
    return f"{catch['after'] or '–'} ({catch['took_s']:.0f} s)"


def _breakages_wrong(samples: Any) -> list[str]:
    known = _breakages_and_control()
    wrong = differ("breakages", list(samples), list(known))
    for name, catches in samples.items():
        wrong += [f"{name}: {each}" for each in differ("layers", list(catches), LAYERS)]
        seen = {layer for layer, catch in catches.items() if catch and catch["after"]}
        if name in known and seen != {*known[name].caught_by}:
            wrong.append(f"{name}: caught by {', '.join(sorted(seen))}, not by those that its patch names")
    return wrong


def _breakages_main(samples: Any) -> dict[str, float]:
    return {
        f"breakages noticed by {layer}": sum(bool(catches[layer]["after"]) for catches in samples.values())
        for layer in LAYERS
    }


def _lab_table(samples: Any) -> Table:
    return (
        ("breakage", "red", "without it → with it", "time"),
        [lab_breakages.row(name, rounds) for name, rounds in samples.items()],
    )


def _lab_wrong(samples: Any) -> list[str]:
    wrong = differ("breakages of the lab", list(samples), [breakage.name for breakage in in_order()])
    if len({len(rounds) for rounds in samples.values()}) != 1:
        wrong.append("not every breakage has the same number of rounds")
    wrong += [
        f"{name}: {each['missed']}" for name, rounds in samples.items() for each in rounds if each["missed"]
    ]
    wrong += [
        f"{name}: nothing seen" for name, rounds in samples.items() for each in rounds if not each["seen"]
    ]
    return wrong


def _lab_main(samples: Any) -> dict[str, float]:
    rounds = [each for all_rounds in samples.values() for each in all_rounds]
    return {
        "rounds of the lab with a breakage": len(rounds),
        "of them noticed": sum(not each["missed"] for each in rounds),
    }


# --- mutants, one section for each package


_OUTCOMES: Final = ("killed", "explained", "survived")
_MINUTES: Final = {
    "race": 2, "pool": 4, "answers": 3, "upstream": 6, "bridge": 4, "server": 25, "api": 10, "observe": 20,
    "judge": 12, "load": 6,
}  # fmt: skip


def _mutants(room: Room) -> Section:
    """The section of a room. Its samples are those of this room alone, of all its mutants."""
    folders = sorted({str(Path(pattern).parent) for pattern in (*room.files, *room.tests)})
    return Section(
        "Mutants",
        f'make mutants ARGS="{room.name} --json /dev/fd/1"',
        _MINUTES[room.name],
        ("tests/mutation", *folders),
        _mutants_table,
        partial(_mutants_wrong, room),
        _mutants_main,
    )


def _mutants_table(samples: Any) -> Table:
    rows = [
        [
            room["title"],
            *(f"{_in_files(room, column):,}" for column in ("mutants", *_OUTCOMES)),
            f"{100 * _in_files(room, 'killed') / _in_files(room, 'mutants'):.1f} %",
        ]
        for room in samples["rooms"]
    ]
    return ("package", "mutants", *_OUTCOMES, "score"), rows


def _in_files(room: Any, column: str) -> int:
    """How many mutants of a room have this outcome, from the counts of each file."""
    return sum(int(counts[column]) for counts in room["files"].values())


def _mutants_wrong(known: Room, samples: Any) -> list[str]:
    wrong = differ("packages that are mutated", [room["name"] for room in samples["rooms"]], [known.name])
    if samples["parts"] != [known.name]:
        wrong.append("some of the mutants, not all of them")
    for room in samples["rooms"]:
        name, all_of_it = room["name"], _in_files(room, "mutants")
        wrong += [
            f"{name}: {column} is not the sum over its files"
            for column in ("mutants", *_OUTCOMES)
            if room[column] != _in_files(room, column)
        ]
        for path, counts in room["files"].items():
            if counts["mutants"] != sum(counts[column] for column in _OUTCOMES):
                wrong.append(f"{path}: its mutants are not those killed, explained and survived")
        if 100 * _in_files(room, "killed") < known.at_least_percent * all_of_it:
            wrong.append(f"{name}: fewer than {known.at_least_percent:g} % of the mutants are killed")
        wrong += [f"{path} is not mutated any more" for path in room["files"].keys() - {*known.paths()}]
        wrong += [
            f"{path} is new, and not mutated"
            for path in known.paths()
            if path not in room["files"] and _has_code(path)
        ]
    return wrong


def _has_code(path: str) -> bool:
    """Whether a file has a function that does something: types and protocols have no mutants."""
    functions = (
        node
        for node in ast.walk(ast.parse(Path(path).read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return any(not isinstance(part, ast.Expr) for each in functions for part in each.body)


def _mutants_main(samples: Any) -> dict[str, float]:
    figures: dict[str, float] = {}
    for room in samples["rooms"]:
        mutants, killed = (_in_files(room, column) for column in ("mutants", "killed"))
        figures[f"mutants of {room['name']}"] = mutants
        figures[killed_share_of(room["name"])] = round(100 * killed / mutants, 2)
    return figures


def killed_share_of(room: str) -> str:
    """What the record of results calls the share of a room's mutants that are killed."""
    return f"mutants of {room} killed, %"


# --- httpx's pool


def _httpcore_wrong(samples: Any) -> list[str]:
    theirs, ours = samples.values()
    wrong = [f"httpx's pool loses no slot in the {by}" for by, search in theirs.items() if not search["lost"]]
    wrong += [
        f"fanout's pool has lost a slot: {search['lost']}" for search in ours.values() if search["lost"]
    ]
    wrong += [
        f"not the same number of runs in the {by}"
        for by in theirs
        if theirs[by]["rounds"] != ours[by]["rounds"]
    ]
    return wrong


def _httpcore_main(samples: Any) -> dict[str, float]:
    theirs, _ = samples.values()
    return {
        f"tries of the {by} until httpx's pool loses a slot": search["tried"] for by, search in theirs.items()
    }


# --- what the leak check costs


def _leak_check_more(samples: Any) -> list[float]:
    """For each set of processes: how much more CPU per request the server takes than without the check."""
    return [
        mean(one["default"]["cpu_us"] for one in rounds)
        / mean(one["logs and metrics"]["cpu_us"] for one in rounds)
        - 1
        for rounds in samples
    ]


def _leak_check_table(samples: Any) -> Table:
    more = figure([100 * each for each in _leak_check_more(samples)])
    rounds = sum(len(each) for each in samples)
    row = f"median of {len(samples)} sets of processes, {rounds} rounds, 300 requests per second"
    return ("", "of a request"), [[row, f"{more.value:.1f} ± {more.error:.1f} %"]]


def _leak_check_wrong(samples: Any) -> list[str]:
    short = [one for rounds in samples for one in rounds if not {"default", "logs and metrics"} <= one.keys()]
    return [f"{len(short)} rounds lack a variant"] if short else []


_SIMULATED: Final = ("fanout/testing", "fanout/tools/simulator")
_LAB: Final = (  # what the experiments run
    "fanout/lab",
    "fanout/tools/simulator",
    "fanout/testing/world",
    *(f"fanout/testing/{name}.py" for name in ("points", "program", "scenario", "scopes", "scripted")),
)

SECTIONS: Final = {
    "worlds": Section(
        "Simulation runs",
        "make simulate SEEDS=1170 REQUESTS=1000 ARGS=--json",
        25,
        _SIMULATED,
        _worlds_table,
        _worlds_wrong,
        _worlds_main,
    ),
    "sweep": Section(
        "The sweep, in which a run is one request, interrupted once",
        'make sweep ARGS="--seeds 1 --json"',
        1,
        ("tests/sweep", *_SIMULATED),
        _sweep_table,
        _sweep_wrong,
        _sweep_main,
    ),
    "prove": Section(
        "Every schedule with at most two deviations from the usual run of each program of `fanout prove`",
        "make prove ARGS=--json",
        8,
        _SIMULATED,
        _prove_table,
        _prove_wrong,
        _prove_main,
    ),
    "breakages": Section(
        "Which layer noticed which breakage, and after how much",
        "make breakages ARGS=--json",
        5,
        (*control(breakages().values()).tests, "tests/breakages", "tests/sweep", *_SIMULATED, "fanout/lab"),
        _breakages_table,
        _breakages_wrong,
        _breakages_main,
    ),
    "lab": Section(
        "What each breakage changes in the lab: the first thing that an experiment sees, "
        "without it and with it",
        'make lab-breakages ARGS="--rounds 5 --json"',
        6,
        ("tests/lab/breakages.py", "fanout/testing/breakages", *_LAB),
        _lab_table,
        _lab_wrong,
        _lab_main,
    ),
    **{f"mutants-{room.name}": _mutants(room) for room in ROOMS},
    "httpcore": Section(
        "httpx's own pool until it loses a slot, and fanout's in the same simulation runs and sweeps",
        "make httpcore-leak ARGS=--json",
        0.5,
        ("tests/breakages", "tests/sweep", *_SIMULATED, "requirements-dev.lock"),
        lambda samples: (("pool", "simulation", "sweep"), httpcore_pool.rows(samples)),
        _httpcore_wrong,
        _httpcore_main,
    ),
    "leak_check": Section(
        "What the leak check adds to the processor time of a request",
        # Two processes of one program differ by more than the check costs: many pairs, each for a short time.
        "make observability ARGS=\"--sets 16 --rounds 3 --only 'logs and metrics,default' --json /dev/fd/1\"",
        9,
        (
            *(f"benchmarks/{name}.py" for name in ("observability", "programs", "stepped_load", "varied")),
            *("benchmarks/bare_server.py", "benchmarks/peers/upstream.conf", "fanout/tools/load"),
        ),
        _leak_check_table,
        _leak_check_wrong,
        lambda samples: {
            "leak check, % of a request": round(100 * figure(_leak_check_more(samples)).value, 2)
        },
        quiet=True,
    ),
}
TOGETHER: Final = {"mutants": tuple(f"mutants-{room.name}" for room in ROOMS)}
"""Tables that show several sections, a row for each, of its own run."""
