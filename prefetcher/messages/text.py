"""Text that somebody else wrote, in a form that is safe to show."""

from __future__ import annotations


def visible(text: object, keep: str = "") -> str:
    r"""The text with every character that is not seen written as Python's repr writes it.

    Those are what a terminal acts on, what hides or turns other characters, and bytes of a file
    name that are no text: ESC becomes \\x1b.

    Args:
        text: Such as the name of a dataset; what is no string is turned into one.
        keep: Characters to leave as they are.
    """
    found = str(text)
    if found.isprintable():
        return found
    return "".join(
        letter
        if letter.isprintable() or letter in keep
        else letter.encode("unicode_escape").decode("ascii")
        for letter in found
    )
