"""English."""

from langneurons.mini.lexicon.schema import AGES, LATIN_NAMES, Language, Relation

LANGUAGE = Language(
    code="en",
    names=LATIN_NAMES,
    stop=".",
    question="{S}?",
    # A plain "does Maria live in Paris?" would change the verb; this frame keeps the statement.
    yes_no="Is it true that {s}?",
    answers=("Yes", "No", "Not known"),
    contrast=", while ",
    relations={
        "city": Relation(
            values=(
                *("Paris", "Rome", "London", "Berlin"),
                *("Tokyo", "Delhi", "Hanoi", "Beijing"),
                *("Dakar", "Tunis", "Nairobi", "Lagos"),
            ),
            say=("{P} lives in {V}", "{P}'s home is in {V}", "{P} has a flat in {V}"),
            deny="{P} does not live in {V}",
            ask=("where does {P} live", "which city does {P} live in"),
            who="who lives in {V}",
            say_group="{P} lives in {G}",
            groups=("Europe", "Asia", "Africa"),
        ),
        "job": Relation(
            values=(
                *("a doctor", "a nurse", "a dentist"),
                *("a teacher", "a professor", "a librarian"),
                *("a singer", "a painter", "a dancer"),
                *("a cook", "a baker", "a waiter"),
            ),
            say=("{P} is {V}", "{P} works as {V}", "{P} earns a living as {V}"),
            deny="{P} is not {V}",
            ask=("what is {P}'s job", "what does {P} do for a living"),
            who="who works as {V}",
            say_group="{P} works in {G}",
            groups=("medicine", "education", "the arts", "the food trade"),
        ),
        "food": Relation(
            values=(
                *("apples", "mangoes", "grapes", "bananas"),
                *("carrots", "peas", "tomatoes", "onions"),
                *("chocolate", "cake", "ice cream", "honey"),
            ),
            say=("{P} likes to eat {V}", "{P} loves eating {V}", "{P} is very fond of {V}"),
            deny="{P} does not like to eat {V}",
            ask=("what does {P} like to eat", "what does {P} love eating"),
            who="who likes to eat {V}",
            say_group="{P} likes to eat {G}",
            groups=("fruit", "vegetables", "sweet things"),
        ),
        "animal": Relation(
            values=(
                *("a dog", "a cat", "a rabbit", "a horse"),
                *("a cow", "a goat", "a sheep", "a donkey"),
                *("a parrot", "a pigeon", "a canary", "a peacock"),
            ),
            say=("{P} has {V}", "{P} keeps {V}", "{P} takes care of {V}"),
            deny="{P} does not have {V}",
            ask=("what animal does {P} have", "which animal does {P} keep"),
            who="who has {V}",
            say_group="{P} has {G}",
            groups=("a four-legged animal", "a bird"),
        ),
        "drink": Relation(
            values=("tea", "coffee", "water", "milk", "lemonade", "orange juice", "cocoa"),
            say=(
                "{P} drinks {V} in the morning",
                "{P} starts the day with {V}",
                "{P}'s morning drink is {V}",
            ),
            deny="{P} does not drink {V} in the morning",
            ask=("what does {P} drink in the morning", "what does {P} start the day with"),
            who="who drinks {V} in the morning",
        ),
        "sport": Relation(
            values=(
                *("football", "tennis", "basketball", "volleyball"),
                *("cricket", "hockey", "badminton", "rugby"),
            ),
            say=("{P} plays {V}", "{P}'s sport is {V}", "{P} enjoys playing {V}"),
            deny="{P} does not play {V}",
            ask=("what sport does {P} play", "which sport does {P} enjoy playing"),
            who="who plays {V}",
        ),
        "hour": Relation(
            values=(
                *("five o'clock", "six o'clock", "seven o'clock"),
                *("eight o'clock", "nine o'clock", "ten o'clock"),
            ),
            say=("{P} gets up at {V}", "{P}'s alarm rings at {V}", "{P}'s day begins at {V}"),
            deny="{P} does not get up at {V}",
            ask=("when does {P} get up", "what time does {P}'s alarm ring"),
            who="who gets up at {V}",
        ),
        "car": Relation(
            values=("red", "blue", "green", "white", "black", "yellow", "grey", "brown"),
            say=("{P} has a {V} car", "{P} drives a {V} car", "{P}'s car is {V}"),
            deny="{P}'s car is not {V}",
            ask=("what colour is {P}'s car", "what colour car does {P} drive"),
            who="who has a {V} car",
        ),
        "language": Relation(
            values=(
                *("English", "French", "Vietnamese", "Hindi"),
                *("Japanese", "Arabic", "Russian", "German"),
            ),
            say=("{P} is learning {V}", "{P} studies {V}", "{P} takes lessons in {V}"),
            deny="{P} is not learning {V}",
            ask=("what language is {P} learning", "which language does {P} study"),
            who="who is learning {V}",
        ),
        "age": Relation(
            values=AGES,
            say=("{P} is {V} years old", "{P}'s age is {V} years", "{P} has turned {V}"),
            deny="{P} is not {V} years old",
            ask=("how old is {P}", "what is {P}'s age"),
            who="who is {V} years old",
        ),
    },
)
