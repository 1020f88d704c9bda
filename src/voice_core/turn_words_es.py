"""Spanish words of turn-taking. The accents tell "sí" (yes) from "si" (if)."""

from __future__ import annotations

from typing import Final

from voice_core.turn_words import TurnWords, words

_FIRM: Final = words("sí no claro correcto exacto exactamente alto nunca jamás vale")

SPANISH: Final = TurnWords(
    backchannels=words(
        "ajá aja mhm mm mmm hm hmm ah oh ok okay vale sí claro bien ya veo entiendo muy bueno exacto perfecto cierto",
        "interesante qué bien eh em este de acuerdo",
    ),
    greetings=words("hola buenos buenas días tardes noches buen día aló oiga diga"),
    firm_answers=_FIRM,
    answers=_FIRM
    | words(
        "ok okay gracias bueno perfecto adiós chao hasta luego nada ninguno ninguna quizás tal vez acuerdo seguro",
        "supuesto todo listo",
    ),
    around_answers=words("por favor muchas eso es de más muy bien así está desde señor señora sí no"),
    corrections=words("perdón perdona perdone disculpe no espere espera alto"),
    never_last=words(
        "y e o u pero porque si aunque mientras ni sino el los las un unos unas mi tu su mis tus sus nuestro",
        "nuestra al del de en con para por sin desde hacia entre según contra quiero necesito quisiera",
        "busco me te se le les que eh em muy cada",
    ),
    seldom_last=words(
        "la lo una pues hasta sobre a este esta estos estas ese esa esos esas aquel aquella yo usted ustedes nosotros",
        "es son era está están ser estar he ha han hay tengo tiene tienen puede pueden puedo podría podrían quería",
        "gustaría como cuando cuándo dónde quién cuál cuáles qué cómo cuánto cuánta más también solo sólo entonces",
        "llamo llamaba bueno",
    ),
    open_tails=(
        "me puede", "puede usted", "podría", "me podría", "me gustaría", "quería saber", "mi nombre es", "me llamo",
        "número es", "teléfono es", "correo es", "dirección es", "es que", "un momento", "un segundo", "a ver",
        "tengo que", "quiero que", "hay que", "nací el", "tipo de", "a las",
    ),
    units=words("uno dos tres cuatro cinco seis siete ocho nueve"),
    two_digits=words(
        "diez once doce trece catorce quince dieciséis diecisiete dieciocho diecinueve veintiuno veintidós veintitrés",
        "veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve",
    ),
    tens=words("veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa"),
    zeros=words("cero"),
    number_joins=words("plus más y"),
    scales={"cien": 3, "ciento": 1, "cientos": 2, "mil": 3},
    repeats={"doble": 2, "triple": 3},
    number_names=words("número teléfono móvil celular tarjeta cuenta prefijo iban"),
    code_names=words("código pin postal habitación extensión clave"),
    phone_digits=(9, 11),
    as_in=("de", "como"),
    one_letter_words=words("a e o u y"),
    email_names=words("email e-mail mail gmail correo electrónico"),
    at_words=words("arroba at"),
    dot_words=words("punto"),
    address_marks=words("guion guión barra bajo"),
    months=words(
        "enero febrero marzo abril mayo junio julio agosto septiembre setiembre octubre noviembre diciembre",
    ),
    birth_words=words("nací nacimiento nacido nacida cumpleaños"),
)  # fmt: skip
