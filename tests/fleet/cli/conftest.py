"""The simulated fleet for the tests of this folder."""

from tests.fleet.cli.simulated import fleet

__all__ = ["fleet"]
