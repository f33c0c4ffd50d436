"""How many examples Hypothesis tries: fewer in a newcomer's run than in a thorough one."""

from hypothesis import settings
from hypothesis import strategies as st

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
"""Whatever JSON may say, as Python has it."""
SHARE = 30
"""Per cent of a thorough run's examples that other runs try."""


def load_profile(*, thorough: bool) -> None:
    """Choose the number of examples for this run; there is no deadline, as machines are shared."""
    settings.register_profile("thorough", deadline=None, max_examples=100)
    settings.register_profile("quick", deadline=None, max_examples=SHARE)
    settings.load_profile("thorough" if thorough else "quick")


def examples(thorough: int) -> int:
    """Return how many examples to try where a thorough run tries so many; at least one."""
    return -(-thorough * settings().max_examples // 100)
