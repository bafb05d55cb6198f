"""The studies by name."""

from workbench._errors import unknown


def every_study():
    """name -> Study, with its own settings."""
    from theory.scoreboard.published.accuracy_trap import AccuracyTrap
    from theory.scoreboard.published.gmm_25 import Gmm25
    from theory.scoreboard.published.levy import LevyProcesses

    return {study.name: study for study in (Gmm25(), AccuracyTrap(), LevyProcesses())}


def find_studies(wanted=None):
    """The studies called `wanted`, or all. Raises BadInput for a name that is none, with the nearest."""
    known = every_study()
    for name in wanted or ():
        if name not in known:
            raise unknown("study", name, [*known], "`workbench bench --help`")
    return [study for name, study in known.items() if wanted is None or name in wanted]
