"""The program `fanout`; what it serves has three endpoints more.

python -m examples.strategies demo       with a simulated upstream
python -m examples.strategies serve      settings and flags are those of `fanout serve`
"""

from fanout.__main__ import main  # first: it handles signals during all other imports

# isort: split
from examples.strategies.endpoints import make_endpoints

main(make_endpoints)
