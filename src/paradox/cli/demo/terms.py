"""Terms: the words that set some texts apart from others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log, sqrt

TERM = re.compile(r"[a-z]+(?:['’-][a-z]+)*")
LETTERS_MIN = 4
TEXTS_MIN = 4
"""A term in fewer of the chosen texts may be chance."""
HELD_SHARE_MIN = 0.05
"""A term in a smaller share of the chosen texts does not stand for them."""
COMMON_SHARE = 0.2
"""A term in more of all texts than this is grammar, not a theme."""
GRAMMAR = """
about above according after again against also although always among another back because been before being below best better between
both can't cannot certain come coming could does don't done down during each even ever every from further give given going good great
have having here hereby herein however i've into it's itself just know last less let's like made make makes many more most much must
necessary never nevertheless next nothing once only other others otherwise ourselves over please present proper said same seems several
shall should shown since some something still such take than that that's their them themselves then there thereby therefore therein
thereof these they thing things this those though through throughout thus today together tonight toward under unless until upon very
want we're we've well were what whatever when where whereas whether which while whole whom whose will with within without would you're
your yours
"""
FUNCTION_WORDS = frozenset(GRAMMAR.split())


def terms_of(text: str) -> set[str]:
    """Return the words of a text that may tell a theme, in lower case."""
    return {term for term in TERM.findall(text.lower()) if len(term) >= LETTERS_MIN} - FUNCTION_WORDS


def count_terms(texts: Iterable[set[str]]) -> Counter[str]:
    """Return in how many texts each term is held."""
    return Counter(term for terms in texts for term in terms)


def distinctive(
    chosen: Sequence[set[str]],
    everywhere: Mapping[str, int],
    texts: int,
    *,
    count: int,
    common_share: float = COMMON_SHARE,
    without: str = "",
) -> list[str]:
    """Return the terms that the chosen texts hold far more often than the others do, the most distinctive first.

    everywhere: in how many of all `texts` texts, the chosen among them, each term is held. The rank is the log-odds ratio of holding the
    term, in standard errors. Left out: terms that more than `common_share` of all texts hold, terms that few of the chosen hold, and
    inflections of `without` and of terms already taken.
    Source: Monroe, Colaresi, Quinn, "Fightin' Words", Political Analysis 2008, section 3.3 (with a flat prior of one half).
    """
    held_min = max(TEXTS_MIN, HELD_SHARE_MIN * len(chosen))
    ranked = sorted(
        (-_log_odds(held, len(chosen), everywhere[term] - held, texts - len(chosen)), term)
        for term, held in count_terms(chosen).items()
        if held >= held_min and everywhere[term] <= common_share * texts
    )
    taken: list[str] = []
    for _, term in ranked:
        if not any(akin(term, other) for other in (*taken, *([without] if without else []))):
            taken.append(term)
        if len(taken) == count:
            break
    return taken


def _log_odds(held: int, texts: int, held_outside: int, texts_outside: int) -> float:
    """Return the log-odds ratio of holding a term, divided by its standard error."""
    inside = log((held + 0.5) / (texts - held + 0.5))
    outside = log((held_outside + 0.5) / (texts_outside - held_outside + 0.5))
    return (inside - outside) / sqrt(1 / (held + 0.5) + 1 / (held_outside + 0.5))


def akin(one: str, other: str) -> bool:
    """Whether two words are forms of one: they share all but a short ending."""
    shorter, longer = sorted((one, other), key=len)
    stem = shorter[: max(LETTERS_MIN, len(shorter) - 2)]
    return longer.startswith(stem) and len(longer) - len(stem) <= 5
