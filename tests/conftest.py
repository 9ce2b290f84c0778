"""What holds for every test."""

from hypothesis import settings

pytest_plugins = ["support.codelines", "support.golden", "support.limits", "support.shared"]

# No example of a property is timed: a busy machine is not a failure. Whole tests have a limit.
settings.register_profile("tinysight", deadline=None)
settings.load_profile("tinysight")
