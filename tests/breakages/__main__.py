"""`make breakages`: apply each patch to a copy of the tree, and see which layers catch it.

A breakage that no layer catches, and a patch that no longer applies, is exit code 1.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from fanout.testing.breakages.patches import Breakage, DoesNotApply, breakages
from tests.breakages.layers import LAYERS, Catch
from tests.breakages.tree import apply, copy_of_tree


@click.command()
@click.argument("names", nargs=-1)
@click.option("--layer", "layers", multiple=True, type=click.Choice(list(LAYERS)), default=list(LAYERS))
@click.option("--why", is_flag=True, help="Print what each layer saw.")
def main(names: tuple[str, ...], layers: tuple[str, ...], why: bool) -> None:
    """NAMES: some breakages, by the names of their files without the ending; none: all."""
    known = breakages()
    if not known.keys() >= set(names):
        raise click.BadParameter(f"there are {', '.join(known)}")
    chosen = [known[name] for name in names or known]
    click.echo("| breakage | breaks | " + " | ".join(layers) + " |")
    click.echo("| --- | --- |" + " --- |" * len(layers))
    missed = []
    for breakage in chosen:
        try:
            catches = [_try(breakage, layer) for layer in layers]
        except DoesNotApply as error:
            click.echo(f"{breakage.name} does not apply: {error}", err=True)
            missed.append(breakage.name)
            continue
        click.echo(
            " | ".join((f"| {breakage.title}", ", ".join(breakage.guarantees), *map(_cell, catches))) + " |"
        )
        if why:
            for layer, catch in zip(layers, catches, strict=True):
                click.echo(f"    {layer}: {catch.why}")
        if all(catch.after is None for catch in catches):
            missed.append(breakage.name)
    if missed:
        click.echo(f"not caught: {', '.join(missed)}", err=True)
    raise SystemExit(1 if missed else 0)


def _try(breakage: Breakage, layer: str) -> Catch:
    with tempfile.TemporaryDirectory(prefix="breakage-") as folder:
        tree = copy_of_tree(Path(folder))
        apply(breakage.diff, tree)
        return LAYERS[layer](tree, breakage)


def _cell(catch: Catch) -> str:
    return f"{catch.after or '–'} ({catch.took_s:.0f} s)"


if __name__ == "__main__":
    main()
