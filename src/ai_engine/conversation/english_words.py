"""What English words weigh in a caller's question: which carry its subject, which mean the same, which bind it.

Data for `question_form`. Stems come from `stem`; a phrase in `_SAME` counts as the one word it stands for.
"""

from __future__ import annotations

import re


def _listed(words: str) -> list[str]:
    return words.split()


WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

DATE_WORDS = frozenset(
    _listed("""today now tonight tomorrow yesterday weekend weekday holiday christmas easter thanksgiving eve new-year
    next last noon midnight january february march april june july august september october november december""")
)
"""Words that tie a question to a time; 'may' is left out because it is mostly the verb."""

COUNTED = frozenset(_listed("""dollar cent mile kilometer minute hour day week month year percent time"""))
"""Nouns that make a number another one: twenty miles are not twenty dollars."""

NUMBER_UNITS = {
    word: value
    for value, word in enumerate(
        _listed("""zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
        seventeen eighteen nineteen""")
    )
}
NUMBER_TENS = {
    word: 10 * value
    for value, word in enumerate(_listed("twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}

FUNCTION_WORDS = frozenset(
    _listed("""a an the this that these those there here it its itself i me my mine myself you your yours we us our they
    them their he him his she her someone somebody anyone anybody something anything one ones some any every each all
    both is are am was were be been being do does did done have has had having can could will would shall should may
    might
    must of in on at to for from with by about into out off over under near as than then so if or and but not
    no yes yeah yep ok okay well oh uh um hmm hi hello hey please thanks thank sorry excuse just also too really very
    actually maybe perhaps currently exactly possible right now like want wants need needs know tell ask asking asked
    wonder wondering say get got give gives let lets us take takes make go going come comes came goes went
    guys sir madam
    what when where which who whom whose why how s t d ll ve re m up down shop store place business company clinic
    office thing things stuff kind kinds sort sorts type types way much many more most good great anywhere nearby only
    exact time look long see use work works use mean able possible way people already yet quick question offer offers
    necessary""")
)

_COURTESY = """help hear glad happy thank welcome call message speak sorry fine doing day morning afternoon evening
    nice meet pleasure sure course moment minute second wait hold time worry understand problem question answer anything
    else something information phone name number back today soon better hope feel bye goodbye assist assistant well
    good great wonderful lovely sound mind matter listen repeat again understood correct alright friendly kind story
    joke weather rain cold warm funny laugh late early hello luck enjoy fun interesting busy talk chat ask leave pass
    catch robot line connection voice clear loud favorite afraid apologize way care tired annoy upset long summer"""


_SAME = {
    "cost": "how much|price|prices|priced|pricing|cost|costs|charge|charges|charged|fee|fees|expensive|cheap",
    "open": "how late|until when|till when|open|opens|opening|opened|close|closes|closing|closed|shut|shuts|hours|hour",
    "where": "where|located|location|address|find you|find your|which street|what street",
    "duration": "how long|how many days|how many hours|how quickly|how fast|how soon|same day",
    "count": "how many",
    "bike": "bike|bikes|bicycle|bicycles|cycle|cycles",
    "repair": "repair|repairs|repaired|repairing|fix|fixes|fixed|fixing|mend",
    "flat": "flat|flats|puncture|punctures|punctured",
    "tire": "tire|tires|tyre|tyres|tube|tubes",
    "child": "child|children|children's|child's|kid|kids|kid's|son|son's|daughter|daughter's|baby|pediatrician",
    "electric": "electric|e-bike|e-bikes|ebike|ebikes|e bike|e bikes",
    "used": "used|second hand|second-hand|secondhand",
    "sell": "sell|sells|buy|sale|carry|purchase",
    "rent": "rent|rents|rental|rentals|renting|hire",
    "owner": "owner|owners|owner's|owns|own|boss|belong to|belongs to|runs",
    "appointment": "appointment|appointments|book|booking|booked|reserve|reservation|schedule|reschedule",
    "walk in": "walk in|walk-in|walk-ins|drop by|stop by|come by|drop in",
    "pick up": "pick up|pick|picks|picks up|picked up|pickup|pick-up|collect|collects|deliver|delivers|delivery",
    "guarantee": "guarantee|guarantees|guaranteed|warranty|warranties",
    "ready": "ready|finished|done yet|been repaired",
    "robot": "robot|robots|computer|machine|bot|human|real person|person|automatic|automated",
    "speak": "speak|speaking|talk|talking|connect|put me through|who is this",
    "email": "email|emails|e-mail|e mail|mail|write to",
    "website": "website|web site|web page|webpage|web address|internet|online",
    "card": "card|cards",
    "doctor": "doctor|doctors|doctor's|dr|physician|physicians",
    "shot": "shot|shots|vaccination|vaccinations|vaccine|vaccinated",
    "refill": "refill|refills|refilled|renew|renewal|repeat prescription",
    "result": "result|results",
    "overhaul": "overhaul|full service|complete service|complete overhaul",
    "tune up": "tune up|tune-up|tuneup|tune-ups|tune ups|basic service",
    "transport": "public transport|bus|tram|train|subway|tramline",
    "park": "park|parking",
    "pay": "pay|paying|payment|payments",
    "visit": "visit|visits|consultation|consultations",
    "early": "early|earlier",
    "video": "video|online appointment|online appointments|telehealth",
    "arrive": "be there|arrive",
    "who": "who|name|names|called",
}
_BINDING = DATE_WORDS | frozenset(WEEKDAYS)
_PHRASES = {phrase: name for name, phrases in _SAME.items() for phrase in phrases.split("|")}
_SAME_PATTERN = re.compile(
    r"(?<![\w'-])(?:" + "|".join(re.escape(p) for p in sorted(_PHRASES, key=len, reverse=True)) + r")(?![\w'-])"
)
_UNDOUBLED = re.compile(r"([bdgmnprt])\1$")


def subject_words(text: str) -> frozenset[str]:
    """The words of lower-case `text` that carry its subject, as stems, with what means the same made one."""
    found: set[str] = set()

    def note(match: re.Match[str]) -> str:
        found.add(_PHRASES[match.group()])
        return " "

    rest = _SAME_PATTERN.sub(note, text)
    for word in re.findall(r"[a-z0-9']+", rest.replace("-", " ")):
        stemmed = stem(word)
        bound = {word, stemmed} & _BINDING or is_number_word(word)
        if not bound and word not in FUNCTION_WORDS:
            found.add(stemmed)
    return frozenset(found)


def is_number_word(word: str) -> bool:
    return word.isdigit() or word in NUMBER_UNITS or word in NUMBER_TENS or word in ("hundred", "thousand")


def stem(word: str) -> str:
    """A light stem: possessive, plural, -ing and -ed taken off, a final e dropped."""
    word = word.removesuffix("'s").strip("'")
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "xes", "ches", "shes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    for suffix in ("ing", "ed"):
        if word.endswith(suffix) and len(word) > len(suffix) + 3:
            word = _UNDOUBLED.sub(r"\1", word.removesuffix(suffix))
            break
    return word.removesuffix("e") if len(word) > 3 else word


COURTESY_WORDS = frozenset(stem(word) for word in _listed(_COURTESY)) | subject_words(_COURTESY)
"""Stems of small talk: a phrase made of these, of function words and of the caller's own words claims nothing."""
