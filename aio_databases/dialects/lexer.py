"""The lexers of the dialects: where strings, quoted identifiers and comments end, and what a placeholder is."""

from __future__ import annotations

ESCAPED = r"""'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'?"""
# What goes on in another line is of the same kind.
MORE = rf"(?:(?:[ \t\v\f]|--[^\r\n]*+)*+[\r\n](?:[ \t-\r]|--[^\r\n]*+[\r\n])*+{ESCAPED})*"

COMMENT = r"--[^\n]*|/\*.*?(?:\*/|\Z)"
OPERATORS = r"(?P<operator>::|%%)"

# Plain literals, many in a row, mean nothing to anybody here; one by one they would take a second per megabyte.
_LITERAL = r"(?:-?[0-9]++(?:\.[0-9]++)?+|(?:'[^'\\]*+')++|[nN][uU][lL][lL])"
_ROW = rf"\(\s*+{_LITERAL}(?:\s*+,\s*+{_LITERAL})*+\s*+\)"
_DATA = rf"(?:,\s*+(?:{_LITERAL}|{_ROW})\s*+){{8,}}(?=,\s*+[('0-9])"


def tokens(
    quoted: str, *, comment: str = COMMENT, others: str = OPERATORS, prefix: str = "", letters: str = r"\w"
) -> str:
    """Return the pattern of a dialect's tokens; their kinds are the names of its groups.

    ``quoted`` matches literals and quoted identifiers, and runs to the end of an unterminated one; it cannot fail once
    it has begun, so that nothing is tried twice.  A doubled quote is read as the end of one literal and the beginning
    of the next, which comes to the same.  ``prefix`` may stand before a name, ``letters`` are those of names.
    """
    pattern = (
        rf"(?P<data>{_DATA})|(?P<comment>{comment})|(?P<quoted>{quoted})"
        # What goes on like a name is one: '%s$$' and ':a$$' begin no literal.
        r"|(?P<pyformat>%\(\w+\)s(?![LETTERS$]))|(?P<format>%s(?![LETTERS$]))"
        # The look-behind spares the slice a[1:n] and the time 12:30.
        r"|(?P<named>(?:(?<![\w$)\[\]:])|(?<=(?<!\w)[aA][rR][rR][aA][yY]\[)|(?<=[(,\[]\[)|(?<=, \[))"
        r":(?![eE]'|[uU]&[\"'])[^\W\d]\w*(?![LETTERS$]))"
        r"|(?P<subscript>(?<=\[):[^\W\d]\w*(?=\]))"  # or the slice a[:n]: the caller's names decide
        r"|(?P<numeric_dollar>(?<!\w)\$[1-9][0-9]{0,4}(?!\w))"
        rf"|(?P<foreign_number>\?[0-9]+)|{others}|(?P<qmark>\?)"
        rf"|(?P<word>:=|{prefix}[LETTERS][LETTERS$]*|/\*M?!|[(),.;=@])"
    )
    return pattern.replace("LETTERS", letters)
