"""What an English voice is given for what is written."""

from __future__ import annotations

import pytest

from spoken_forms.spoken_form import spoken_form

AMERICAN = """
We are open.                              | We are open.
We close at 5:30 pm.                      | We close at five thirty p.m.
We close at 5:30 pm. Come early.          | We close at five thirty p.m. Come early.
We open at 9am, not at 10 a.m.            | We open at nine a.m., not at ten a.m.
Come at 9:00 or at 9:05.                  | Come at nine o'clock or at nine oh five.
Come at 17:45.                            | Come at five forty-five p.m.
It starts at 12:30 PM                     | It starts at twelve thirty p.m.
at 0:15                                   | at twelve fifteen a.m.
at 3.30 p.m.                              | at three thirty p.m.
at 9 o'clock                              | at nine o'clock
The gate closes at 23:59:30               | The gate closes at eleven fifty-nine p.m. thirty
We are open 9–5.                          | We are open nine to five.
We are open 9am–5:30pm.                   | We are open nine a.m. to five thirty p.m.
We are open 9:00-17:00, Mon–Fri.          | We are open nine o'clock to five p.m., Monday to Friday.
Mon. and Thurs. from 9 to 12              | Monday and Thursday from nine to twelve
We meet on Tue, Sat 10:30.                | We meet on Tuesday, Saturday ten thirty.
The sun sat on Sun Street                 | The sun sat on Sun Street
We are here 24/7.                         | We are here twenty-four seven.
It is 2026-11-21.                         | It is November twenty-first, twenty twenty-six.
11/21/2026                                | November twenty-first, twenty twenty-six
on 3/5/26                                 | on March fifth, twenty twenty-six
21/11/2026                                | November twenty-first, twenty twenty-six
on 21.11.2026                             | on November twenty-first, twenty twenty-six
Nov 21st                                  | November twenty-first
on Nov. 21, 2026.                         | on November twenty-first, twenty twenty-six.
Sept 1 is free                            | September first is free
on Monday, March 3                        | on Monday, March third
You may 5 times call                      | You may five times call
21 November 2026                          | the twenty-first of November, twenty twenty-six
the 4th of July                           | the fourth of July
the 4th of July, 1776                     | the fourth of July, seventeen seventy-six
since 1987, in 2005 and 2026              | since nineteen eighty-seven, in two thousand and five and twenty twenty-six
from 2020–2024                            | from twenty twenty to twenty twenty-four
on 11/21                                  | on November twenty-first
It costs $19.99.                          | It costs nineteen dollars and ninety-nine cents.
Your total is $42.50                      | Your total is forty-two dollars and fifty cents
Please call 555 0134                      | Please call five five five, zero one three four
$1                                        | one dollar
$1.01                                     | one dollar and one cent
$0.50                                     | fifty cents
$5.00                                     | five dollars
$1,234.56                                 | one thousand two hundred and thirty-four dollars and fifty-six cents
-$5                                       | minus five dollars
$3 million                                | three million dollars
$1.5M                                     | one point five million dollars
$15/hour                                  | fifteen dollars per hour
$5 dollars                                | five dollars
$5–10                                     | five dollars to ten
€5 or 5,50 €                              | five euros or five euros and fifty cents
£3                                        | three pounds
£2.01                                     | two pounds and one penny
CHF 20                                    | twenty Swiss francs
US$5                                      | five dollars
99¢                                       | ninety-nine cents
(555) 123-4567                            | five five five, one two three, four five six seven
+49 30 123456                             | plus four nine, three zero, one two three, four five six
+1 555 123 4567                           | plus one, five five five, one two three, four five six seven
1-800-555-0199                            | one, eight zero zero, five five five, zero one nine nine
555.123.4567                              | five five five, one two three, four five six seven
Call 5550134.                             | Call five five five, zero one three four.
dial 116 117                              | dial one one six, one one seven
555-0134                                  | five five five, zero one three four
ext. 12                                   | extension twelve
extension 4501                            | extension four five zero one
Room 204                                  | Room two oh four
flat 5, room 1234, suite 300              | flat five, room twelve thirty-four, suite three hundred
1234 Main Street                          | twelve thirty-four Main Street
Springfield, IL 62704                     | Springfield, IL six two seven, zero four
zip code 62704-1234                       | zip code six two seven, zero four, one two three four
Your code is 4711.                        | Your code is four seven one one.
PIN: 0042                                 | PIN: zero zero four two
order number AB12345-X                    | order number AB, one two three, four five, X
flight BA2490                             | flight BA, two four nine zero
invoice AB1234                            | invoice AB one two three four
5 km and 1 km                             | five kilometers and one kilometer
20 °C, -5°C                               | twenty degrees Celsius, minus five degrees Celsius
68°F                                      | sixty-eight degrees Fahrenheit
10 %, 2.5%                                | ten percent, two point five percent
5–10%                                     | five to ten percent
it takes 30 min.                          | it takes thirty minutes.
60 mph, 5 lbs, 6 ft                       | sixty miles per hour, five pounds, six feet
1 min, 2 hrs                              | one minute, two hours
500 GB                                    | five hundred gigabyte
the 1st, 2nd, 3rd and 23rd                | the first, second, third and twenty-third
1/2 or 3/4                                | one half or three quarters
2 1/2 cups, 1½ cups                       | two and a half cups, one and a half cups
1,234 and 1.234                           | one thousand two hundred and thirty-four and one point two three four
1,200,300.89                              | one million two hundred thousand three hundred point eight nine
0.5 and 3.14159                           | zero point five and three point one four one five nine
version 1.2.3                             | version one dot two dot three
-5 and +7                                 | minus five and plus seven
rooms 1,2 and 3                           | rooms one, two and three
12345678 units                            | one two three four, five six seven eight units
007                                       | zero zero seven
#5                                        | number five
No. 5                                     | number five
No. 5 please.                             | number five please.
No. We are closed.                        | No. We are closed.
2x, 3 x 4                                 | two times, three times four
~20 people                                | about twenty people
Dr. Smith and Mr. Jones                   | Doctor Smith and Mister Jones
12 Park Dr.                               | twelve Park Drive.
St. Mary's is on Main St.                 | Saint Mary's is on Main Street.
e.g. bread, i.e. food                     | for example bread, that is food
bread, cakes, etc.                        | bread, cakes, et cetera.
bread etc. and cakes                      | bread et cetera and cakes
Acme Inc. is open                         | Acme Incorporated is open
approx. 5 vs. 6                           | approximately five versus six
R&D, bread & butter, 5% & more            | R and D, bread and butter, five percent and more
A/B, and/or, he/she                       | A B, and or, he or she
w/ milk, w/o sugar                        | with milk, without sugar
2 + 2 = 4                                 | two plus two equals four
see you @ noon                            | see you at noon
info@example.com                          | info at example dot com
To ann.lee_2@mail-box.example.co.uk.      | To ann dot lee underscore two at mail dash box dot example dot co dot UK.
https://www.example.com/a/b?x=1           | www dot example dot com slash a slash b x equals one
Visit example.com.                        | Visit example dot com.
www.example.org, please                   | www dot example dot org, please
the USA, NASA and the U.S.A. now          | the USA, NASA and the U.S.A. now
(555)                                     | (five hundred and fifty-five)
"5" is it                                 | "five" is it
3 stars.                                  | three stars.
between 5 and 10                          | between five and ten
B12 and A4 and 5G                         | B12 and A4 and 5G
Mon 9-10 and Tue 3-4pm                    | Monday nine to ten and Tuesday three to four p.m.
Sat & Sun 10:30-4                         | Saturday and Sunday ten thirty to four
Monday-Friday                             | Monday to Friday
a 5-star hotel, 24-hour service           | a five-star hotel, twenty-four-hour service
A 100 people came, I 250                  | A one hundred people came, I two hundred and fifty
Please order 100 pizzas                   | Please order one hundred pizzas
$100-$200 in 1-2 days                     | one hundred dollars to two hundred dollars in one to two days
rated 9/10, on 9/10                       | rated nine slash ten, on September tenth
50/50, 3/4 of it, on 3/4                  | fifty fifty, three quarters of it, on March fourth
N/A, A/C, TCP/IP                          | not available, A C, TCP IP
call 911                                  | call nine one one
911 calls                                 | nine hundred and eleven calls
4111 1111 1111 1111                       | four one one one, one one one one, one one one one, one one one one
it is 3.5/5                               | it is 3.5/5
7-Eleven on I-95                          | seven-Eleven on I-ninety-five
0800 123 456                              | zero eight zero zero, one two three, four five six
221B Baker St, London NW1 6XE.            | 221B Baker Street, London NW1 6XE.
Since 1995 (30 years).                    | Since nineteen ninety-five (thirty years).
1st & 2nd Ave.                            | first and second Avenue.
"""

BRITISH = """
11/12/2026                                | the eleventh of December, twenty twenty-six
on 21/11                                  | on the twenty-first of November
21 Nov                                    | the twenty-first of November
the 21st November                         | the twenty-first of November
Nov 21                                    | November twenty-first
£3.50                                     | three pounds and fifty pence
"""


def rows(table: str) -> list[tuple[str, str]]:
    """`written | spoken` a line."""
    return [(a.strip(), b.strip()) for a, _, b in (line.partition(" | ") for line in table.strip().splitlines())]


@pytest.mark.parametrize(("written", "spoken"), rows(AMERICAN))
def test_american(written, spoken):
    assert spoken_form(written, "en") == spoken
    assert spoken_form(spoken, "en") == spoken


@pytest.mark.parametrize(("written", "spoken"), rows(BRITISH))
def test_british(written, spoken):
    assert spoken_form(written, "en-GB") == spoken


@pytest.mark.parametrize(("name", "spoken"), [("en_US", "November twelfth"), ("EN", "November twelfth"),
                                              ("eng", "November twelfth"), ("en-us", "November twelfth"),
                                              ("en-gb-x-rp", "the eleventh of December"),
                                              ("en_GB.UTF-8", "the eleventh of December"),
                                              ("en-AU", "the eleventh of December")])  # fmt: skip
def test_languages_are_known_by_their_usual_names(name, spoken):
    assert spoken_form("11/12/2026", name) == f"{spoken}, twenty twenty-six"


@pytest.mark.parametrize("language", ["", "ja", "xx", "hi", "-", "English please"])
def test_what_a_language_not_known_says_is_left_to_the_voice(language):
    text = "5 km, $5, Dr. Smith, info@example.com"
    assert spoken_form(text, language) == text
