"""Times for people to read."""


def duration(seconds: float) -> str:
    """Format seconds as `12.3 s`, `4 min 05 s` or `2 h 07 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
