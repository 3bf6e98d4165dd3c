"""With how many examples a property is checked: few in every run, which draws new ones each time, many in a long run.

`pytest --hypothesis-profile=long` is the long one. How long an example takes is no fact, on a machine that does
something else too.
"""

from hypothesis import HealthCheck, settings

EXAMPLES = {"usual": 25, "long": 300}  # fewer than 25 would leave out kinds of input that a codec must stand


def load_usual() -> None:
    """Make the profiles known, and load the usual one; an option of pytest may load another before tests are read."""
    for name, number in EXAMPLES.items():
        settings.register_profile(
            name,
            parent=settings.get_profile("default"),
            max_examples=number,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
    settings.load_profile("usual")


def times(share: float) -> int:
    """So many examples for each one that the profile asks for."""
    return round(share * settings().max_examples)
