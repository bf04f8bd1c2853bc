"""Checks that the arguments' classes share."""

from __future__ import annotations

import math


def range_problems(arguments: object, bounds: dict[str, tuple[float, float, bool]]) -> list[str]:
    """Sentences for the values outside ``(lowest, highest, lowest_is_allowed)``; None values are not checked."""
    problems = []
    for name, (lowest, highest, inclusive) in bounds.items():
        value = getattr(arguments, name)
        if value is None:
            continue
        inside = (lowest <= value if inclusive else lowest < value) and value <= highest
        if not (inside and math.isfinite(value)):
            lower = f"at least {lowest:g}" if inclusive else f"more than {lowest:g}"
            upper = "" if math.isinf(highest) else f" and at most {highest:g}"
            problems.append(f"{name}: {value!r} is out of range; it must be {lower}{upper}")
    return problems
