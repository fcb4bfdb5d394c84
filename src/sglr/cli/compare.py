def compare() -> None:
    """tmp"""
