"""English words of turn-taking."""

from __future__ import annotations

from typing import Final

from voice_core.turn_words import TurnWords, words

_FIRM: Final = words("yes no nope nah correct stop exactly yeah yep yup")

ENGLISH: Final = TurnWords(
    backchannels=words(
        "uh-huh uhuh uh huh mhm mm mmm mm-hmm mmhm mm-hm hm hmm hmmm ah aha oh ooh okay ok yeah yep yup right sure wow",
        "alright great good i see got it really interesting um er erm eh",
    ),
    greetings=words("hello hi hey hallo good morning afternoon evening there"),
    firm_answers=_FIRM,
    answers=_FIRM
    | words(
        "okay ok sure thanks thank bye goodbye please fine none nothing never maybe that's right absolutely certainly",
        "course",
    ),
    around_answers=words("you it all not really of that very much so alright then"),
    corrections=words("sorry no wait stop actually pardon excuse hold"),
    never_last=words(
        "and or but because since while if whether than though although unless until so",
        "a an the my your our their every um uh er erm",
        "i i'm i'd i'll i've we're we'd we'll they're you're it's there's what's who's where's how's",
        "want need wondering trying calling",
    ),
    seldom_last=words(
        "to of in on at by for from with without about into onto over under between during through per via near",
        "this these those that his her its some any each another as when then which who what where how why",
        "is are was were am be been being do does did have has had can could will would shall should may might must",
        "we they he she like tell ask looking going book get make give let hmm well also just basically actually",
    ),
    needs_object=words(
        "repair fix mend replace adjust sell offer provide accept charge carry stock bring send deliver ship install",
        "recommend include rent",
    ),
    object_words=words("what which who whom how everything anything something"),
    clause_words=words("who what where when why how which whether if"),
    determiners=words("the a an my your our their his her its this that these those"),
    verb_frames=frozenset(
        f"how {quantity} {verb}"
        for quantity in ("much", "long", "often", "far")
        for verb in ("would", "will", "does", "do")
    ),
    frame_verbs=words(
        "cost charge be run take last need have get pay want come go keep set sell say give make ask wait stay open",
        "close work drive know think like see spend add save weigh hold",
    ),
    open_tails=(
        "can you", "could you", "can i", "could i", "tell me", "let me", "would like", "i'd like", "kind of",
        "sort of", "what kind of", "what time do", "do you", "is there", "are there", "let's see", "hold on",
        "one moment", "one second", "just a second", "my name is", "number is", "i would", "i want to", "like to",
        "to know", "to ask", "do you have", "do you know", "could you please", "can you please", "address is",
        "email is", "code is", "name's", "as in", "spelled", "it's spelled", "date of birth is", "born on",
    ),
    units=words("oh o one two three four five six seven eight nine"),
    two_digits=words("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"),
    tens=words("twenty thirty forty fifty sixty seventy eighty ninety"),
    zeros=words("zero oh o nought naught nil"),
    number_joins=words("plus and dash hyphen"),
    scales={"hundred": 2, "thousand": 3},
    repeats={"double": 2, "triple": 3, "treble": 3},
    number_names=words("number phone telephone mobile cell card account digits iban area dial"),
    code_names=words("code pin zip postcode zipcode room extension passcode"),
    phone_digits=(10, 11),
    as_in=("as in", "like", "for"),
    one_letter_words=words("a i o"),
    email_names=words("email e-mail mail gmail"),
    at_words=words("at"),
    dot_words=words("dot"),
    address_marks=words("underscore dash hyphen"),
    months=words("january february march april may june july august september october november december"),
    ordinals=words(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth",
        "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth twenty-first twenty-second",
        "twenty-third twenty-fourth twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirty-first",
    ),
    month_joins=words("of"),
    before_month=words("on"),
    birth_words=words("born birth birthday birthdate"),
)  # fmt: skip
