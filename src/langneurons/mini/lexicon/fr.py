"""French.

Nouns that would take *de* under negation keep their article in a cleft instead
("ce n'est pas un chien que Maria possède").
"""

from langneurons.mini.lexicon.schema import AGES, LATIN_NAMES, Language, Relation

LANGUAGE = Language(
    code="fr",
    names=LATIN_NAMES,
    stop=".",
    question="{S} ?",
    yes_no="Est-ce que {s} ?",
    answers=("Oui", "Non", "On ne sait pas"),
    contrast=", tandis que ",
    relations={
        "city": Relation(
            values=(
                *("Paris", "Rome", "Londres", "Berlin"),
                *("Tokyo", "Delhi", "Hanoï", "Pékin"),
                *("Dakar", "Tunis", "Nairobi", "Lagos"),
            ),
            say=("{P} habite à {V}", "{P} vit à {V}", "la maison de {P} se trouve à {V}"),
            deny="{P} n'habite pas à {V}",
            ask=("où habite {P}", "dans quelle ville vit {P}"),
            who="qui habite à {V}",
            say_group="{P} habite en {G}",
            groups=("Europe", "Asie", "Afrique"),
        ),
        "job": Relation(
            values=(
                *("médecin", "infirmier|infirmière", "dentiste"),
                *("instituteur|institutrice", "professeur|professeure", "bibliothécaire"),
                *("chanteur|chanteuse", "peintre", "danseur|danseuse"),
                *("cuisinier|cuisinière", "boulanger|boulangère", "serveur|serveuse"),
            ),
            say=("{P} est {V}", "{P} travaille comme {V}", "{P} gagne sa vie comme {V}"),
            deny="{P} n'est pas {V}",
            ask=("quel est le métier de {P}", "que fait {P} dans la vie"),
            who="qui travaille comme {V}",
            say_group="{P} travaille dans {G}",
            groups=("la santé", "l'enseignement", "les arts", "la restauration"),
        ),
        "food": Relation(
            values=(
                *("des pommes", "des mangues", "du raisin", "des bananes"),
                *("des carottes", "des petits pois", "des tomates", "des oignons"),
                *("du chocolat", "du gâteau", "de la glace", "du miel"),
            ),
            say=("{P} aime manger {V}", "{P} mange volontiers {V}", "{P} adore manger {V}"),
            deny="{P} n'aime pas manger {V}",
            ask=("qu'est-ce que {P} aime manger", "que mange volontiers {P}"),
            who="qui aime manger {V}",
            say_group="{P} aime manger {G}",
            groups=("des fruits", "des légumes", "des sucreries"),
        ),
        "animal": Relation(
            values=(
                *("un chien", "un chat", "un lapin", "un cheval"),
                *("une vache", "une chèvre", "un mouton", "un âne"),
                *("un perroquet", "un pigeon", "un canari", "un paon"),
            ),
            say=("{P} a {V}", "{P} possède {V}", "l'animal de {P} est {V}"),
            deny="ce n'est pas {V} que {P} possède",
            ask=("quel animal possède {P}", "quel est l'animal de {P}"),
            who="qui possède {V}",
            say_group="{P} a {G}",
            groups=("un animal à quatre pattes", "un oiseau"),
        ),
        "drink": Relation(
            values=(
                *("du thé", "du café", "de l'eau", "du lait"),
                *("de la limonade", "du jus d'orange", "du cacao"),
            ),
            say=("{P} boit {V} le matin", "{P} prend {V} le matin", "le matin, {P} boit {V}"),
            deny="ce n'est pas {V} que {P} boit le matin",
            ask=("que boit {P} le matin", "que prend {P} le matin"),
            who="qui boit {V} le matin",
        ),
        "sport": Relation(
            values=(
                *("football", "tennis", "basket", "volley"),
                *("cricket", "hockey", "badminton", "rugby"),
            ),
            say=("{P} joue au {V}", "{P} pratique le {V}", "le sport de {P} est le {V}"),
            deny="{P} ne joue pas au {V}",
            ask=("à quel sport joue {P}", "quel sport pratique {P}"),
            who="qui joue au {V}",
        ),
        "hour": Relation(
            values=(
                *("cinq heures", "six heures", "sept heures"),
                *("huit heures", "neuf heures", "dix heures"),
            ),
            say=(
                "{P} se lève à {V}",
                "le réveil de {P} sonne à {V}",
                "la journée de {P} commence à {V}",
            ),
            deny="{P} ne se lève pas à {V}",
            ask=("quand se lève {P}", "à quelle heure se lève {P}"),
            who="qui se lève à {V}",
        ),
        "car": Relation(
            values=("rouge", "bleue", "verte", "blanche", "noire", "jaune", "grise", "marron"),
            say=(
                "{P} a une voiture {V}",
                "{P} conduit une voiture {V}",
                "la voiture de {P} est {V}",
            ),
            deny="la voiture de {P} n'est pas {V}",
            ask=(
                "de quelle couleur est la voiture de {P}",
                "quelle est la couleur de la voiture de {P}",
            ),
            who="qui a une voiture {V}",
        ),
        "language": Relation(
            values=(
                *("l'anglais", "le français", "le vietnamien", "le hindi"),
                *("le japonais", "l'arabe", "le russe", "l'allemand"),
            ),
            say=(
                "{P} apprend {V}",
                "{P} étudie {V}",
                "{P} suit un cours pour apprendre {V}",
            ),
            deny="{P} n'apprend pas {V}",
            ask=("quelle langue apprend {P}", "quelle langue étudie {P}"),
            who="qui apprend {V}",
        ),
        "age": Relation(
            values=AGES,
            say=("{P} a {V} ans", "{P} est <âgé|âgée> de {V} ans", "{P} vient d'avoir {V} ans"),
            deny="{P} n'a pas {V} ans",
            ask=("quel âge a {P}", "quel est l'âge de {P}"),
            who="qui a {V} ans",
        ),
    },
)
