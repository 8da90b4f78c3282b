"""The judge's text -> a verdict, or None with the reason.

`parse` reads it, a `Grammar` knows the markup of one kind of judge, `split_thinking` finds where the thinking ends,
`chance_of_first` makes a probability of the log-probabilities of the verdict's tokens.
Left out: asking the judge again, voting and orders; this is pure text.
"""

from __future__ import annotations

from rrm_plugin.verdicts.chances import chance_of_first
from rrm_plugin.verdicts.grammars import GRAMMARS, Grammar, Mark, MarkupGrammar, PhraseGrammar, ScoreGrammar, grammar
from rrm_plugin.verdicts.parsing import Parsed, parse
from rrm_plugin.verdicts.thinking import SplitText, closing_tag, split_thinking, strip_thinking

__all__ = [
    "GRAMMARS",
    "Grammar",
    "Mark",
    "MarkupGrammar",
    "Parsed",
    "PhraseGrammar",
    "ScoreGrammar",
    "SplitText",
    "chance_of_first",
    "closing_tag",
    "grammar",
    "parse",
    "split_thinking",
    "strip_thinking",
]
