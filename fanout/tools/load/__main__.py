"""`python -m fanout.tools.load`: the same as `fanout load`."""

from .command import load

load(prog_name="fanout load")
