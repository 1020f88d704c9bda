"""Where a sentence may be cut depends on its words: abbreviations, conjunctions and words that lean on the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class PhraseWords:
    """One language's. All in small letters; abbreviations without their last stop."""

    titles: frozenset[str]
    """Abbreviations that belong to what follows: never a phrase's end."""
    endings: frozenset[str]
    """Abbreviations that may end a sentence: they do when a capital follows that is not a day or a month."""
    conjunctions: frozenset[str]
    """A phrase may end before them."""
    leaning: frozenset[str]
    """They lean on the next word: a phrase cut after them sounds broken off."""
    calendar: frozenset[str]
    """Days and months: one thing with the figure beside them."""
    also_words: frozenset[str] = frozenset()
    """Titles that may end a sentence, too, when they are written small: they are words, or units."""
    ordinal_stop: bool = False
    """A figure with a stop is an ordinal: the 3. of May."""


_EVERYWHERE: Final = _words("dr prof st tel approx max min incl vs fig nr art vol a p")
_ENDINGS_EVERYWHERE: Final = _words("etc inc ltd co corp a.m p.m")

_ENGLISH: Final = PhraseWords(
    titles=_EVERYWHERE | _words(
        """mr mrs ms mx mt ft sgt capt lt col gen sen rep rev hon fr e.g i.e cf ca ext est gov excl appt pp rm ste apt
        bldg dept a.k.a no nos c jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur
        thurs fri sat sun"""
    ),
    endings=_ENDINGS_EVERYWHERE | _words("jr sr ave rd blvd ln hwy u.s u.k u.s.a ph.d b.a m.a min hr hrs lbs oz sq"),
    conjunctions=_words("and but or so because although while when if which who where since unless then"),
    leaning=_words(
        """a an the of to in on at for from with by as and or but if is are was be been your our my his her their its
        this that these those not very no i we you it he she they can will would w/ w/o c/o vs"""
    ),
    calendar=_words(
        """monday tuesday wednesday thursday friday saturday sunday january february march april may june july august
        september october november december"""
    ),
    also_words=_words("mar jun sep fig gen rep col hon mon wed sat sun max min art fig no nos ft"),
)  # fmt: skip
_GERMAN: Final = PhraseWords(
    titles=_EVERYWHERE | _words(
        """hr hrn fr frl z.b z.t d.h u.a u.u m.e i.d.r bzw ca evtl ggf inkl zzgl vgl nrn abs kap exkl o.ä geb dipl ing
        hausnr zi durchw mio mrd tsd allg bes bspw gem zit jan jän feb mär apr jun jul aug sep sept okt nov dez mo di mi
        sa so do z d u v i o b h jh sfr"""
    ),
    endings=_ENDINGS_EVERYWHERE | _words("usw u.v.m str pl gmbh std stk min art abs"),
    conjunctions=_words("und aber oder denn weil obwohl während wenn dass damit sondern sodass bevor nachdem falls ob"),
    leaning=_words(
        """der die das den dem des ein eine einen einem einer eines zu zum zur in im an am auf für von vom mit bei beim
        aus nach um bis ab als und oder aber wenn dass ist sind war wird werden hat haben kann können ihr ihre ihren
        ihrem ihrer mein meine unser unsere sein seine sehr nicht kein keine ich wir sie er es man"""
    ),
    calendar=_words(
        """montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag januar februar märz april mai juni
        juli august september oktober november dezember"""
    ),
    also_words=_words("mo di mi sa so do jun max min bes art"),
    ordinal_stop=True,
)  # fmt: skip
_SPANISH: Final = PhraseWords(
    titles=_EVERYWHERE | _words(
        """sr sra srta sres dra ud uds dña p.ej p ej aprox av avda tfno ee ee.uu profa pza ing lic máx mín núm n.º pág
        págs ext km apto hab c dto n izq mill"""
    ),
    endings=_ENDINGS_EVERYWHERE | _words("uu cía dpto dcha hrs h s.a s.l"),
    conjunctions=_words("y e pero o u porque aunque mientras cuando si que quien donde sino pues como"),
    leaning=_words(
        """el la los las un una unos unas de del a al en por para con sin sobre y o u e que si es son era está están su
        sus mi mis nuestro nuestra este esta estos estas muy no yo se le les lo nos puede"""
    ),
    calendar=_words(
        """lunes martes miércoles jueves viernes sábado domingo enero febrero marzo abril mayo junio julio agosto
        septiembre octubre noviembre diciembre"""
    ),
    also_words=_words("hab max min km art"),
)  # fmt: skip
_FRENCH: Final = PhraseWords(
    titles=_EVERYWHERE | _words(
        "m mm mme mlle pr p.ex p ex c.-à-d env bd av tél r.v s.v.p apr ch n°s janv févr fév avr juil sept oct nov déc"
    ),
    endings=_ENDINGS_EVERYWHERE | _words("j.-c cie mn"),
    conjunctions=_words("et mais ou donc car parce quand lorsque si que qui où puis comme tandis"),
    leaning=_words(
        """le la les un une des du de d' à au aux en dans sur pour par avec sans chez et ou que qui si est sont était
        votre vos notre nos mon ma mes son sa ses leur ce cette ces très ne pas je nous vous il elle on ils elles se
        peut"""
    ),
    calendar=_words(
        """lundi mardi mercredi jeudi vendredi samedi dimanche janvier février mars avril mai juin juillet août
        septembre octobre novembre décembre"""
    ),
    also_words=_words("max min art"),
)  # fmt: skip
_ITALIAN: Final = PhraseWords(
    titles=_EVERYWHERE | _words(
        """sig sig.ra sig.na sigg dott dott.ssa ing avv arch geom p.es p es ad.es ca cell p.zza v.le c.so app.to n pag
        int cap prof.ssa rag gent egr spett"""
    ),
    endings=_ENDINGS_EVERYWHERE | _words("ecc s.p.a s.r.l"),
    conjunctions=_words("e ed ma o oppure perché anche mentre quando se che chi dove poi quindi però come"),
    leaning=_words(
        """il lo la i gli le un uno una di del dello della dei delle a al allo alla ai alle da dal dalla in nel nella su
        sul per con tra fra e ed o che se è sono era suo sua suoi mio nostro questo questa molto non io si ci vi può"""
    ),
    calendar=_words(
        """lunedì martedì mercoledì giovedì venerdì sabato domenica gennaio febbraio marzo aprile maggio giugno luglio
        agosto settembre ottobre novembre dicembre"""
    ),
    also_words=_words("arch max min art"),
)  # fmt: skip
_PORTUGUESE: Final = PhraseWords(
    titles=_EVERYWHERE | _words(
        """sr sra sr.ª srta dra dr.ª eng profa p.ex p ex aprox av r telef exmo lda máx mín pça n.º núm pág págs ap apto
        ext"""
    ),
    endings=_ENDINGS_EVERYWHERE | _words("cia ltda lda s.a h hs"),
    conjunctions=_words("e mas ou porque embora enquanto quando se que quem onde pois como então porém"),
    leaning=_words(
        """o a os as um uma uns umas de do da dos das em no na nos nas ao à aos às por pelo pela para com sem sobre e ou
        que se é são era está seu sua seus meu nosso este esta muito não eu nós você pode lhe"""
    ),
    calendar=_words(
        """segunda terça quarta quinta sexta sábado domingo janeiro fevereiro março abril maio junho julho agosto
        setembro outubro novembro dezembro"""
    ),
    also_words=_words("r max min art"),
)  # fmt: skip
_DUTCH: Final = PhraseWords(
    titles=_EVERYWHERE | _words(
        """dhr mevr mw bijv bv d.w.z o.a ca a.u.b i.v.m m.b.t evt ong t.a.v z.s.m excl nrs blz hs drs ir mr jan feb mrt
        apr jun jul aug sep sept okt nov dec mln mld"""
    ),
    endings=_ENDINGS_EVERYWHERE | _words("enz e.d str u a.u.b b.v n.v"),
    conjunctions=_words("en maar of want omdat hoewel terwijl als wanneer dat die waar dus zodat voordat nadat"),
    leaning=_words(
        """de het een van naar in op aan voor met bij uit om tot als en of maar dat is zijn was wordt heeft kan uw onze
        ons mijn zijn haar hun dit deze die zeer heel niet geen ik wij we u hij zij ze te er t/m"""
    ),
    calendar=_words(
        """maandag dinsdag woensdag donderdag vrijdag zaterdag zondag januari februari maart april mei juni juli
        augustus september oktober november december"""
    ),
    also_words=_words("mar jun sep hs max min ong art"),
)  # fmt: skip
_OTHER: Final = PhraseWords(
    titles=_EVERYWHERE,
    endings=_ENDINGS_EVERYWHERE,
    conjunctions=frozenset(),
    leaning=frozenset(),
    calendar=frozenset(),
    also_words=_words("max min art"),
)
_LANGUAGES: Final = {
    "en": _ENGLISH, "de": _GERMAN, "es": _SPANISH, "fr": _FRENCH, "it": _ITALIAN, "pt": _PORTUGUESE, "nl": _DUTCH,
}  # fmt: skip


def phrase_words(language: str) -> PhraseWords:
    """Those of a language's tag (`de`, `en-GB`, `pt_BR`); of one that is not here, what most have in common."""
    return _LANGUAGES.get(language.lower().replace("_", "-").partition("-")[0], _OTHER)
