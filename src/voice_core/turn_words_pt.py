"""Portuguese words of turn-taking."""

from __future__ import annotations

from typing import Final

from voice_core.turn_words import TurnWords, words

_FIRM: Final = words("sim não claro correto exato exatamente certo pare isso nunca")

PORTUGUESE: Final = TurnWords(
    backchannels=words(
        "aham ahã uhum mhm mm mmm hm hmm ah oh ok okay sim tá está bem bom certo claro entendi percebo pois é sei",
        "legal ótimo perfeito interessante já vejo isso né hum eh",
    ),
    greetings=words("olá oi bom boa dia tarde noite alô estou"),
    firm_answers=_FIRM,
    answers=_FIRM
    | words(
        "ok okay obrigado obrigada tudo nada nenhum nenhuma talvez perfeito tchau adeus até logo seguro combinado bem",
    ),
    around_answers=words("por favor muito é só isso de mais está tá bom senhor senhora sim não que mesmo"),
    corrections=words("desculpe desculpa perdão não espere espera pare"),
    never_last=words(
        "e ou mas porque se embora enquanto nem o os as um uns umas meu seu meus seus do da dos das",
        "ao de em com para por sem desde entre pelo pela quero preciso queria gostaria que eh",
    ),
    seldom_last=words(
        "a no na nos nas uma minha sua sobre muito até este esta estes estas esse essa esses essas aquele aquela eu",
        "você vocês nós é são era está estão ser estar tem têm tenho há pode podem posso poderia gostava como quando",
        "onde quem qual quais quanto quanta mais também só então me te lhe chamo hum bom",
    ),
    open_tails=(
        "você pode", "o senhor pode", "a senhora pode", "poderia", "me pode", "gostaria de", "queria saber",
        "meu nome é", "chamo-me", "me chamo", "número é", "telefone é", "email é", "e-mail é", "endereço é",
        "um momento", "um segundo", "um minuto", "tenho que", "quero que", "nasci em", "tipo de", "às",
    ),
    units=words("um dois duas três quatro cinco seis meia sete oito nove"),
    two_digits=words(
        "dez onze doze treze catorze quatorze quinze dezesseis dezasseis dezessete dezassete dezoito dezenove dezanove",
    ),
    tens=words("vinte trinta quarenta cinquenta sessenta setenta oitenta noventa"),
    zeros=words("zero"),
    number_joins=words("plus mais e"),
    scales={"cem": 3, "cento": 1, "mil": 3},
    repeats={"duplo": 2, "dobro": 2},
    number_names=words("número telefone celular telemóvel cartão conta prefixo ddd cpf iban nif"),
    code_names=words("código pin cep postal quarto ramal senha"),
    phone_digits=(9, 11),
    as_in=("de", "como"),
    one_letter_words=words("a e o é"),
    email_names=words("email e-mail mail gmail correio"),
    at_words=words("arroba at"),
    dot_words=words("ponto"),
    address_marks=words("traço sublinhado underline hífen"),
    months=words(
        "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    ),
    birth_words=words("nasci nascimento nascido nascida aniversário"),
)  # fmt: skip
