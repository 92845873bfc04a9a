"""`make breakages`: apply each patch to a copy of the tree, and see which layers catch it.

Each breakage names the layers that must catch it. A layer that misses it is blind: exit code 1, even if other
layers catch it, and even if it is tried alone. So is a patch that no longer applies. The first row is a
control: every layer tries the unchanged code, and must find nothing.

`--short` takes two minutes. It leaves out the lab, and the layers that take long to catch the breakage.
`--http2` tries the mistakes of `tests/breakages/http2` instead, in the unit tests and the simulation: the
other layers know nothing of HTTP/2. It takes a minute or two.
`--json` prints at the end what each layer saw of each breakage: the samples of docs/guarantees.md.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import click

from fanout.testing.breakages.patches import Breakage, DoesNotApply, breakages, read
from tests.breakages.layers import CONTROL, LAYERS, Catch, NoVerdict, control
from tests.breakages.tree import apply, copy_of_tree

LEFT_OUT = "·"  # by --short
OF_HTTP2 = ("unit", "simulation")  # layers


def http2_breakages() -> dict[str, Breakage]:
    """Those that only clients of HTTP/2 notice, by name."""
    return {path.stem: read(path) for path in sorted((Path(__file__).parent / "http2").glob("*.patch"))}


@click.command()
@click.argument("names", nargs=-1)
@click.option("--layer", "layers", multiple=True, type=click.Choice(list(LAYERS)), default=list(LAYERS))
@click.option("--short", is_flag=True, help="Two minutes: without the lab, and without what takes long.")
@click.option("--http2", is_flag=True, help="Those of HTTP/2, in the unit tests and the simulation.")
@click.option("--why", is_flag=True, help="Print what each layer saw.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, and the table as progress.")
def main(
    names: tuple[str, ...], layers: tuple[str, ...], short: bool, http2: bool, why: bool, as_json: bool
) -> None:
    """NAMES: some breakages, by the names of their files without the ending; none: all."""
    known = http2_breakages() if http2 else breakages()
    if not known.keys() >= set(names):
        raise click.BadParameter(f"there are {', '.join(known)}")
    layers = tuple(layer for layer in LAYERS if layer in layers)  # the lab is the last one
    if http2:
        layers = tuple(layer for layer in layers if layer in OF_HTTP2)
    if short:
        layers = tuple(layer for layer in layers if layer != "lab")
    click.echo("| breakage | breaks | " + " | ".join(layers) + " |", err=as_json)
    click.echo("| --- | --- |" + " --- |" * len(layers), err=as_json)
    wrong = []
    samples = {}
    chosen = [known[name] for name in names or known]
    chosen.insert(0, control(chosen))
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:  # what takes time is in other processes
        tries = [
            [threads.submit(_try, breakage, layer, short) for layer in layers if layer != "lab"]
            for breakage in chosen
        ]
        if "lab" in layers:  # it measures time, so nothing runs beside it
            _wait_for(list(chain(*tries)))
        for breakage, futures in zip(chosen, tries, strict=True):
            try:
                caught = [future.result() for future in futures]
                if "lab" in layers:
                    caught.append(_try(breakage, "lab", short))
            except DoesNotApply as error:
                wrong.append(f"{breakage.name} does not apply: {error}")
                continue
            except NoVerdict as error:
                wrong.append(f"{breakage.name}: no verdict: {error}")
                continue
            catches = dict(zip(layers, caught, strict=True))
            cells = [breakage.title, ", ".join(breakage.guarantees), *map(_cell, catches.values())]
            click.echo(f"| {' | '.join(cells)} |", err=as_json)
            if why:
                for layer, catch in catches.items():
                    click.echo(f"    {layer}: {'left out' if catch is None else catch.why}", err=as_json)
            samples[breakage.name] = {layer: catch and asdict(catch) for layer, catch in catches.items()}
            wrong += _blind(breakage, catches.items())
    for line in wrong:
        click.echo(line, err=True)
    if as_json:
        click.echo(json.dumps(samples))
    raise SystemExit(1 if wrong else 0)


def _wait_for(tries: Sequence[Future[Catch | None]]) -> None:
    """Wait for all of them, and show the progress on a terminal: the table is printed afterwards."""
    for number, _ in enumerate(as_completed(tries), 1):
        if sys.stderr.isatty():
            end = "\n" if number == len(tries) else ""
            click.echo(f"\r{number} of {len(tries)} tries before the lab{end}", nl=False, err=True)


def _try(breakage: Breakage, layer: str, short: bool) -> Catch | None:
    """`None`: it is left out."""
    if short and breakage.name != CONTROL and (layer in breakage.late or layer not in breakage.caught_by):
        return None
    with tempfile.TemporaryDirectory(prefix="breakage-") as folder:
        tree = copy_of_tree(Path(folder))
        apply(breakage.diff, tree)
        return LAYERS[layer](tree, breakage)


def _blind(breakage: Breakage, catches: Iterable[tuple[str, Catch | None]]) -> list[str]:
    """What is wrong with the layers, each in a line."""
    lines = []
    for layer, catch in catches:
        is_caught = catch is None or catch.after is not None
        if breakage.name == CONTROL:
            if catch is not None and is_caught:
                lines.append(f"{layer} is red although nothing is broken: {catch.why}")
        elif layer in breakage.caught_by and not is_caught:
            lines.append(f"{layer} must catch {breakage.name}, and does not")
        elif layer not in breakage.caught_by and catch is not None and is_caught:
            lines.append(f"{layer} catches {breakage.name}: name it in the patch, so that it has to")
    return lines


def _cell(catch: Catch | None) -> str:
    return LEFT_OUT if catch is None else f"{catch.after or '–'} ({catch.took_s:.0f} s)"


if __name__ == "__main__":
    main()
