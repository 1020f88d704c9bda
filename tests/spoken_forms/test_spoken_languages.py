"""What voices of other languages are given for what is written."""

from __future__ import annotations

import pytest

from spoken_forms.spoken_form import LANGUAGES, spoken_form
from voice_core.phrases import PhraseCutter

GERMAN = """
Wir schließen um 17:45 Uhr.               | Wir schließen um siebzehn Uhr fünfundvierzig.
Um 9 Uhr, um 1 Uhr, um 13:00              | Um neun Uhr, um ein Uhr, um dreizehn Uhr
17.45 Uhr                                 | siebzehn Uhr fünfundvierzig
Mo–Fr 9–17 Uhr                            | Montag bis Freitag neun bis siebzehn Uhr
Sa 10–14 Uhr. So ist es.                  | Samstag zehn bis vierzehn Uhr. So ist es.
5,50 €                                    | fünf Euro fünfzig
€ 5,50 und 1 €                            | fünf Euro fünfzig und ein Euro
0,99 EUR                                  | neunundneunzig Cent
1.234,50 Euro                             | eintausendzweihundertvierunddreißig Euro fünfzig
5,- €                                     | fünf Euro
$19.99                                    | neunzehn Dollar neunundneunzig
2,5 Mio. Euro                             | zwei Komma fünf Millionen Euro
9,99 €/Monat                              | neun Euro neunundneunzig pro Monat
CHF 20                                    | zwanzig Franken
am 21.11.2026                             | am einundzwanzigsten November zweitausendsechsundzwanzig
am 21.11. um 9:30                         | am einundzwanzigsten November um neun Uhr dreißig
bis zum 3.5.                              | bis zum dritten Mai.
der 21. November                          | der einundzwanzigste November
Montag, 1. Dez. 2026                      | Montag, der erste Dezember zweitausendsechsundzwanzig
2026-11-21                                | der einundzwanzigste November zweitausendsechsundzwanzig
im 3. Stock                               | im dritten Stock
Wir treffen uns am 3.                     | Wir treffen uns am dritten.
Es sind 3. Danke.                         | Es sind drei. Danke.
seit 1984                                 | seit neunzehnhundertvierundachtzig
+49 30 123456                             | plus vier neun, drei null, eins zwei drei, vier fünf sechs
Tel. 030 / 12 34 56                       | Telefon null drei null, eins zwei, drei vier, fünf sechs
0171-1234567                              | null eins sieben eins, eins zwei drei, vier fünf sechs sieben
10115 Berlin                              | eins null eins, eins fünf Berlin
Zimmer 204, Nr. 5                         | Zimmer zweihundertvier, Nummer fünf
Ihre Kundennummer ist 4711                | Ihre Kundennummer ist vier sieben eins eins
1 Stunde, 1 Tag, 1 neue Nachricht         | eine Stunde, ein Tag, eine neue Nachricht
20 °C, -3 °C                              | zwanzig Grad Celsius, minus drei Grad Celsius
5 km, 1 km, 2 h                           | fünf Kilometer, ein Kilometer, zwei Stunden
10 %, 2,5 %                               | zehn Prozent, zwei Komma fünf Prozent
1,25 und 12.345                           | eins Komma zwei fünf und zwölftausenddreihundertfünfundvierzig
1/2 und 3/4                               | ein halb und drei Viertel
z. B. Brot, d.h. Essen                    | zum Beispiel Brot, das heißt Essen
Brot, Kuchen usw.                         | Brot, Kuchen und so weiter.
Dr. Weber, Fr. Klein, ca. 5               | Doktor Weber, Frau Klein, circa fünf
Mann & Frau, und/oder                     | Mann und Frau, und oder
info@beispiel.de                          | info ät beispiel Punkt de
www.beispiel.at                           | www Punkt beispiel Punkt AT
24/7                                      | vierundzwanzig sieben
#5                                        | Nummer fünf
am 5. und 6. Mai                          | am fünften und sechsten Mai
von 9.30 bis 10.15 Uhr                    | von neun Uhr dreißig bis zehn Uhr fünfzehn
89,– € inkl. Frühstück                    | neunundachtzig Euro inklusive Frühstück
Wählen Sie 112                            | Wählen Sie eins eins zwei
Mo.–Fr. 8–12, Sa. geschlossen             | Montag bis Freitag acht bis zwölf, Samstag geschlossen
zum 1. Mal, die 2. Frage                  | zum ersten Mal, die zweite Frage
Hauptstr. 5, am So. um 9                  | Hauptstraße fünf, am Sonntag um neun
1. Brot                                   | eins. Brot
"""

SPANISH = """
a las 9:00                                | a las nueve
A la 1:30                                 | A la una y treinta
a las 17:45 h                             | a las diecisiete y cuarenta y cinco
a las 5:30 p. m.                          | a las cinco y treinta de la tarde.
a las 9 p.m. en casa                      | a las nueve de la noche en casa
de 9:00–14:00                             | de nueve a catorce horas
lun–vie                                   | lunes a viernes
5,50 €                                    | cinco euros con cincuenta
1 €, 21 euros, $1                         | un euro, veintiún euros, un dólar
0,50 €                                    | cincuenta céntimos
200 libras                                | doscientas libras
2 millones de euros                       | dos millones de euros
21/11/2026                                | veintiuno de noviembre de dos mil veintiséis
1 de mayo de 2026                         | primero de mayo de dos mil veintiséis
el 21 de nov. de 2026                     | el veintiuno de noviembre de dos mil veintiséis
en 1998                                   | en mil novecientos noventa y ocho
1 hora, 21 horas, 21 días, 1 día          | una hora, veintiuna horas, veintiún días, un día
200 personas                              | doscientas personas
12 500 personas                           | doce mil quinientas personas
21.000                                    | veintiún mil
1.234,5                                   | mil doscientos treinta y cuatro coma cinco
2.5                                       | dos punto cinco
1.er piso, 2.ª planta                     | primer piso, segunda planta
612 345 678                               | seis uno dos, tres cuatro cinco, seis siete ocho
+34 912 345 678                           | más tres cuatro, nueve uno dos, tres cuatro cinco, seis siete ocho
28001 Madrid                              | dos ocho cero, cero uno Madrid
C/ Mayor, n.º 5                           | calle Mayor, número cinco
el 10 %, 20 °C                            | el diez por ciento, veinte grados centígrados
Sr. López y Sra. Ruiz                     | señor López y señora Ruiz
pan, leche, etc.                          | pan, leche, etcétera.
p. ej. pan                                | por ejemplo pan
info@ejemplo.es                           | info arroba ejemplo punto es
1/2                                       | un medio
y/o                                       | y o
de lun. a vie., L a V                     | de lunes a viernes, lunes a viernes
$1,234.56 MXN                             | mil doscientos treinta y cuatro pesos con cincuenta y seis
el 3/4 a las 16:30                        | el tres de abril a las dieciséis y treinta
Llame al 112                              | Llame al uno uno dos
1 vez, 101 noches                         | una vez, ciento una noches
"""

FRENCH = """
à 17h45                                   | à dix-sept heures quarante-cinq
à 9 h et à 13 h 05                        | à neuf heures et à treize heures cinq
à 9:30, à 1 h                             | à neuf heures trente, à une heure
de 9h–17h                                 | de neuf heures à dix-sept heures
lun–ven                                   | lundi à vendredi
5,50 €                                    | cinq euros cinquante
1 €                                       | un euro
12 500 €                                  | douze mille cinq cents euros
3 millions d'euros                        | trois millions d'euros
le 1er mai 2026                           | le premier mai deux mille vingt-six
le 21/11/2026                             | le vingt et un novembre deux mille vingt-six
le 14 juil. à 9 h                         | le quatorze juillet à neuf heures
01 23 45 67 89                            | zéro un, deux trois, quatre cinq, six sept, huit neuf
75001 Paris                               | sept cinq zéro, zéro un Paris
1 heure, 21 minutes, 1 jour               | une heure, vingt et une minutes, un jour
80 %, 3,14                                | quatre-vingts pour cent, trois virgule quatorze
au 2e étage, la 1re fois                  | au deuxième étage, la première fois
20 °C                                     | vingt degrés Celsius
M. Dupont et Mme Roche                    | monsieur Dupont et madame Roche
n° 5                                      | numéro cinq
p. ex. du pain, etc.                      | par exemple du pain, et cetera.
info@exemple.fr                           | info arobase exemple point fr
1/2                                       | un demi
et/ou                                     | et ou
du lun. au ven.                           | du lundi au vendredi.
1 234,56 €                                | mille deux cent trente-quatre euros cinquante-six
01.23.45.67.89                            | zéro un, deux trois, quatre cinq, six sept, huit neuf
les 2/3 des gens, le 2/3                  | les deux tiers des gens, le deux mars
"""

ITALIAN = """
alle 17:45                                | alle diciassette e quarantacinque
alle 9:00                                 | alle nove
alle ore 9.30                             | alle ore nove e trenta
lun–ven 9–18                              | lunedì a venerdì nove a diciotto
5,50 €                                    | cinque euro e cinquanta
1 €, € 20                                 | un euro, venti euro
2 milioni di euro                         | due milioni di euro
il 1º maggio 2026                         | il primo maggio duemilaventisei
21/11/2026                                | ventuno novembre duemilaventisei
1 ora, 1 persona, 1 giorno                | una ora, una persona, un giorno
12.500 e 1,5                              | dodicimilacinquecento e uno virgola cinque
10 %, 20 °C                               | dieci per cento, venti gradi Celsius
2ª classe, 3º piano                       | seconda classe, terzo piano
06 1234567                                | zero sei, uno due tre, quattro cinque sei sette
00184 Roma                                | zero zero uno, otto quattro Roma
Sig. Rossi e Dott.ssa Verdi               | signor Rossi e dottoressa Verdi
pane, latte, ecc.                         | pane, latte, eccetera.
n. 5                                      | numero cinque
info@esempio.it                           | info chiocciola esempio punto it
"""

PORTUGUESE = """
às 17h45                                  | às dezassete e quarenta e cinco
às 9h, às 13:00                           | às nove horas, às treze horas
seg–sex                                   | segunda a sexta
5,50 €                                    | cinco euros e cinquenta cêntimos
2 libras                                  | duas libras
R$ 10,00                                  | dez reais
1º de maio de 2026                        | primeiro de maio de dois mil e vinte e seis
21/11/2026                                | vinte e um de novembro de dois mil e vinte e seis
2 horas, 21 pessoas, 2 dias               | duas horas, vinte e uma pessoas, dois dias
12.500 e 1,5                              | doze mil e quinhentos e um vírgula cinco
10 %, 20 °C                               | dez por cento, vinte graus Celsius
2ª feira, 3.º andar                       | segunda feira, terceiro andar
1000-001 Lisboa                           | um zero zero zero, zero zero um Lisboa
+351 912 345 678                          | mais três cinco um, nove um dois, três quatro cinco, seis sete oito
Sr. Silva e Dra. Costa                    | senhor Silva e doutora Costa
n.º 5, etc.                               | número cinco, et cetera.
info@exemplo.pt                           | info arroba exemplo ponto pt
de seg. a sex., das 9h às 18h30           | de segunda a sexta, das nove horas às dezoito e trinta
Ligue para (11) 91234-5678                | Ligue para um um, nove um dois, três quatro, cinco seis sete oito
"""

BRAZILIAN = """
R$ 5,50                                   | cinco reais e cinquenta centavos
16                                        | dezesseis
5 km                                      | cinco quilômetros
"""

DUTCH = """
om 17:45 uur                              | om zeventien uur vijfenveertig
om 9.30 uur, om 9 uur                     | om negen uur dertig, om negen uur
ma–vr 9–17 uur                            | maandag tot vrijdag negen tot zeventien uur
€ 5,50 en € 5,-                           | vijf euro vijftig en vijf euro
0,99 euro                                 | negenennegentig cent
21-11-2026                                | eenentwintig november tweeduizendzesentwintig
1 mei 2026                                | één mei tweeduizendzesentwintig
sinds 1984                                | sinds negentienhonderdvierentachtig
de 3e verdieping, de 1ste                 | de derde verdieping, de eerste
1,5 en 12.500                             | één komma vijf en twaalfduizendvijfhonderd
10 %, 20 °C                               | tien procent, twintig graden Celsius
020 1234567                               | nul twee nul, één twee drie, vier vijf zes zeven
1012 AB Amsterdam                         | één nul één twee AB Amsterdam
dhr. Jansen en mevr. De Vries             | de heer Jansen en mevrouw De Vries
bijv. brood, enz.                         | bijvoorbeeld brood, enzovoort.
nr. 5                                     | nummer vijf
ma t/m vr                                 | maandag tot en met vrijdag
info@voorbeeld.nl                         | info apenstaartje voorbeeld punt nl
"""

TABLES = {"de": GERMAN, "es": SPANISH, "fr": FRENCH, "it": ITALIAN, "pt": PORTUGUESE, "pt-BR": BRAZILIAN, "nl": DUTCH}
ROWS = [
    (language, written.strip(), spoken.strip())
    for language, table in TABLES.items()
    for written, _, spoken in (line.partition(" | ") for line in table.strip().splitlines())
]


@pytest.mark.parametrize(("language", "written", "spoken"), ROWS)
def test_what_is_written_is_said_in_the_languages_own_words(language, written, spoken):
    assert spoken_form(written, language) == spoken
    assert spoken_form(spoken, language) == spoken


@pytest.mark.parametrize("code", LANGUAGES)
def test_what_is_said_as_one_is_never_cut_in_two(code):
    """The cutter of phrases knows what is written short, too: it runs first, and this sees one phrase at a time."""
    language = LANGUAGES[code]
    whole = [f"{short} 5" for short in language.before_numbers]
    whole += [f"5 {sign}" for sign in (*language.units, *language.currencies) if " " not in sign]
    whole += [f"{sign} 5" for sign in language.currencies if not sign.isalpha() and sign != "ct"]
    names = [
        short for short in language.abbreviations if short[0].isupper() and short.endswith(".") and " " not in short
    ]
    whole += [f"{short} Word" for short in names]
    for before in (1, 3, 6, 9, 12, 24, 26):
        for piece in whole:
            cutter = PhraseCutter(language=code)
            phrases = [*cutter.feed(f"{'word ' * before}{piece} and word word word word"), *cutter.end()]
            assert any(piece in phrase.text for phrase in phrases), (piece, before)
