"""Spanish."""

from langneurons.mini.lexicon.schema import AGES, LATIN_NAMES, Language, Relation

LANGUAGE = Language(
    code="es",
    names=LATIN_NAMES,
    stop=".",
    question="¿{S}?",
    yes_no="¿{S}?",
    answers=("Sí", "No", "No se sabe"),
    contrast=", mientras que ",
    relations={
        "city": Relation(
            values=(
                *("París", "Roma", "Londres", "Berlín"),
                *("Tokio", "Delhi", "Hanói", "Pekín"),
                *("Dakar", "Túnez", "Nairobi", "Lagos"),
            ),
            say=("{P} vive en {V}", "{P} reside en {V}", "la casa de {P} está en {V}"),
            deny="{P} no vive en {V}",
            ask=("dónde vive {P}", "en qué ciudad vive {P}"),
            who="quién vive en {V}",
            say_group="{P} vive en {G}",
            groups=("Europa", "Asia", "África"),
        ),
        "job": Relation(
            values=(
                *("médico|médica", "enfermero|enfermera", "dentista"),
                *("maestro|maestra", "profesor|profesora", "bibliotecario|bibliotecaria"),
                *("cantante", "pintor|pintora", "bailarín|bailarina"),
                *("cocinero|cocinera", "panadero|panadera", "camarero|camarera"),
            ),
            say=("{P} es {V}", "{P} trabaja de {V}", "{P} se gana la vida como {V}"),
            deny="{P} no es {V}",
            ask=("cuál es la profesión de {P}", "en qué trabaja {P}"),
            who="quién trabaja de {V}",
            say_group="{P} trabaja en {G}",
            groups=("la sanidad", "la enseñanza", "el mundo del arte", "la hostelería"),
        ),
        "food": Relation(
            values=(
                *("manzanas", "mangos", "uvas", "plátanos"),
                *("zanahorias", "guisantes", "tomates", "cebollas"),
                *("chocolate", "pastel", "helado", "miel"),
            ),
            say=(
                "a {P} le gusta comer {V}",
                "{P} come {V} con mucho gusto",
                "{P} disfruta comiendo {V}",
            ),
            deny="a {P} no le gusta comer {V}",
            ask=("qué le gusta comer a {P}", "qué come {P} con mucho gusto"),
            who="a quién le gusta comer {V}",
            say_group="a {P} le gusta comer {G}",
            groups=("fruta", "verdura", "dulces"),
        ),
        "animal": Relation(
            values=(
                *("un perro", "un gato", "un conejo", "un caballo"),
                *("una vaca", "una cabra", "una oveja", "un burro"),
                *("un loro", "una paloma", "un canario", "un pavo real"),
            ),
            say=("{P} tiene {V}", "{P} cuida de {V}", "{P} es <dueño|dueña> de {V}"),
            deny="{P} no tiene {V}",
            ask=("qué animal tiene {P}", "de qué animal cuida {P}"),
            who="quién tiene {V}",
            say_group="{P} tiene {G}",
            groups=("un animal de cuatro patas", "un ave"),
        ),
        "drink": Relation(
            values=("té", "café", "agua", "leche", "limonada", "zumo de naranja", "cacao"),
            say=(
                "{P} bebe {V} por la mañana",
                "{P} empieza el día con {V}",
                "por la mañana, {P} toma {V}",
            ),
            deny="{P} no bebe {V} por la mañana",
            ask=("qué bebe {P} por la mañana", "con qué empieza el día {P}"),
            who="quién bebe {V} por la mañana",
        ),
        "sport": Relation(
            values=(
                *("fútbol", "tenis", "baloncesto", "voleibol"),
                *("críquet", "hockey", "bádminton", "rugby"),
            ),
            say=("{P} juega al {V}", "{P} practica el {V}", "el deporte de {P} es el {V}"),
            deny="{P} no juega al {V}",
            ask=("a qué deporte juega {P}", "qué deporte practica {P}"),
            who="quién juega al {V}",
        ),
        "hour": Relation(
            values=(
                *("las cinco", "las seis", "las siete"),
                *("las ocho", "las nueve", "las diez"),
            ),
            say=(
                "{P} se levanta a {V}",
                "el despertador de {P} suena a {V}",
                "el día de {P} empieza a {V}",
            ),
            deny="{P} no se levanta a {V}",
            ask=("cuándo se levanta {P}", "a qué hora suena el despertador de {P}"),
            who="quién se levanta a {V}",
        ),
        "car": Relation(
            values=("rojo", "azul", "verde", "blanco", "negro", "amarillo", "gris", "marrón"),
            say=("{P} tiene un coche {V}", "{P} conduce un coche {V}", "el coche de {P} es {V}"),
            deny="el coche de {P} no es {V}",
            ask=("de qué color es el coche de {P}", "qué color tiene el coche de {P}"),
            who="quién tiene un coche {V}",
        ),
        "language": Relation(
            values=(
                *("inglés", "francés", "vietnamita", "hindi"),
                *("japonés", "árabe", "ruso", "alemán"),
            ),
            say=("{P} aprende {V}", "{P} estudia {V}", "{P} toma clases de {V}"),
            deny="{P} no aprende {V}",
            ask=("qué idioma aprende {P}", "qué idioma estudia {P}"),
            who="quién aprende {V}",
        ),
        "age": Relation(
            values=AGES,
            say=(
                "{P} tiene {V} años",
                "la edad de {P} es de {V} años",
                "{P} ya ha cumplido {V} años",
            ),
            deny="{P} no tiene {V} años",
            ask=("cuántos años tiene {P}", "cuál es la edad de {P}"),
            who="quién tiene {V} años",
        ),
    },
)
