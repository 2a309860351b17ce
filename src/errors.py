"""The one error type that reaches a user without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Bad input: the message names the value, the rule it breaks and the remedy.

    Entry points print the message on stderr and exit with status 2; everything else that is raised is a
    defect of ours and keeps its traceback.
    """
