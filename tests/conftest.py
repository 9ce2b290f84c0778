"""What holds for every test."""

from hypothesis import settings

# No test is timed: a busy machine is not a failure.
settings.register_profile("tinysight", deadline=None)
settings.load_profile("tinysight")
