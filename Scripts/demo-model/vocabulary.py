"""The words of the demo model's little world.

A caption is put together from these words only, so they are all that the model
can know. `python Scripts/demo-model words` prints them as they stand in the
model card.

The objects are Twemoji drawings; NOTICE says what has to be said of them.
"""
import os
from typing import NamedTuple

NOTICE = """The objects derive from Twemoji. Twemoji, Copyright 2019 Twitter, Inc and other contributors, licensed under
CC-BY 4.0 (https://creativecommons.org/licenses/by/4.0/); recoloured and composed.
"""
LAND, AIR, WATER, ITEM = "land", "air", "water", "item"


class Drawing(NamedTuple):
    """One object: its Twemoji code point, where it lives, whether it may be recoloured."""

    code: str
    habitat: str
    tintable: bool


# The order matters: a data set of N objects takes the first N.
OBJECTS = {
    "car": Drawing("1f697", LAND, True),
    "rocket": Drawing("1f680", AIR, False),
    "dog": Drawing("1f415", LAND, False),
    "cat": Drawing("1f408", LAND, False),
    "house": Drawing("1f3e0", LAND, False),
    "sailboat": Drawing("26f5", WATER, False),
    "elephant": Drawing("1f418", LAND, True),
    "butterfly": Drawing("1f98b", AIR, True),
    "apple": Drawing("1f34e", ITEM, True),
    "balloon": Drawing("1f388", AIR, True),
    "fish": Drawing("1f420", WATER, True),
    "whale": Drawing("1f433", WATER, True),
    "castle": Drawing("1f3f0", LAND, False),
    "snowman": Drawing("26c4", LAND, False),
    "helicopter": Drawing("1f681", AIR, True),
    "tractor": Drawing("1f69c", LAND, False),
    "penguin": Drawing("1f427", LAND, False),
    "turtle": Drawing("1f422", LAND, True),
    "mushroom": Drawing("1f344", LAND, True),
    "cactus": Drawing("1f335", LAND, False),
    "robot": Drawing("1f916", ITEM, True),
    "duck": Drawing("1f986", WATER, True),
    "pumpkin": Drawing("1f383", ITEM, True),
    "umbrella": Drawing("2602", ITEM, True),
    # The shipped prototype knows the 24 above; the full set goes on.
    "horse": Drawing("1f40e", LAND, True),
    "cow": Drawing("1f404", LAND, False),
    "pig": Drawing("1f416", LAND, True),
    "sheep": Drawing("1f411", LAND, False),
    "goat": Drawing("1f410", LAND, False),
    "camel": Drawing("1f42a", LAND, False),
    "giraffe": Drawing("1f992", LAND, False),
    "tiger": Drawing("1f405", LAND, False),
    "leopard": Drawing("1f406", LAND, False),
    "rabbit": Drawing("1f407", LAND, True),
    "mouse": Drawing("1f401", LAND, True),
    "rooster": Drawing("1f413", LAND, False),
    "crocodile": Drawing("1f40a", LAND, True),
    "snake": Drawing("1f40d", LAND, True),
    "snail": Drawing("1f40c", LAND, True),
    "bee": Drawing("1f41d", AIR, False),
    "ladybug": Drawing("1f41e", ITEM, True),
    "owl": Drawing("1f989", AIR, True),
    "parrot": Drawing("1f99c", AIR, True),
    "flamingo": Drawing("1f9a9", WATER, True),
    "swan": Drawing("1f9a2", WATER, False),
    "dinosaur": Drawing("1f995", LAND, True),
    "tyrannosaurus": Drawing("1f996", LAND, True),
    "dragon": Drawing("1f409", AIR, True),
    "kangaroo": Drawing("1f998", LAND, False),
    "hedgehog": Drawing("1f994", LAND, False),
    "bat": Drawing("1f987", AIR, True),
    "eagle": Drawing("1f985", AIR, False),
    "dolphin": Drawing("1f42c", WATER, True),
    "octopus": Drawing("1f419", WATER, True),
    "crab": Drawing("1f980", WATER, True),
    "shark": Drawing("1f988", WATER, True),
    "squid": Drawing("1f991", WATER, True),
    "bus": Drawing("1f68c", LAND, False),
    "taxi": Drawing("1f695", LAND, False),
    "fire engine": Drawing("1f692", LAND, False),
    "ambulance": Drawing("1f691", LAND, False),
    "police car": Drawing("1f693", LAND, False),
    "truck": Drawing("1f69a", LAND, True),
    "bicycle": Drawing("1f6b2", LAND, True),
    "motorcycle": Drawing("1f3cd", LAND, True),
    "scooter": Drawing("1f6f5", LAND, True),
    "steam train": Drawing("1f682", LAND, True),
    "airplane": Drawing("2708", AIR, True),
    "flying saucer": Drawing("1f6f8", AIR, True),
    "speedboat": Drawing("1f6a4", WATER, False),
    "ship": Drawing("1f6a2", WATER, False),
    "canoe": Drawing("1f6f6", WATER, True),
    "tent": Drawing("26fa", LAND, True),
    "ferris wheel": Drawing("1f3a1", LAND, False),
    "church": Drawing("26ea", LAND, False),
    "tower": Drawing("1f5fc", LAND, True),
    "hut": Drawing("1f6d6", LAND, False),
    "tree": Drawing("1f333", LAND, True),
    "pine tree": Drawing("1f332", LAND, True),
    "palm tree": Drawing("1f334", LAND, False),
    "sunflower": Drawing("1f33b", LAND, False),
    "rose": Drawing("1f339", ITEM, True),
    "tulip": Drawing("1f337", ITEM, True),
    "green apple": Drawing("1f34f", ITEM, False),
    "banana": Drawing("1f34c", ITEM, False),
    "orange": Drawing("1f34a", ITEM, False),
    "lemon": Drawing("1f34b", ITEM, False),
    "watermelon": Drawing("1f349", ITEM, False),
    "grapes": Drawing("1f347", ITEM, True),
    "strawberry": Drawing("1f353", ITEM, False),
    "cherries": Drawing("1f352", ITEM, False),
    "pineapple": Drawing("1f34d", ITEM, False),
    "pear": Drawing("1f350", ITEM, True),
    "tomato": Drawing("1f345", ITEM, False),
    "carrot": Drawing("1f955", ITEM, False),
    "corn": Drawing("1f33d", ITEM, False),
    "broccoli": Drawing("1f966", ITEM, False),
    "avocado": Drawing("1f951", ITEM, False),
    "hamburger": Drawing("1f354", ITEM, False),
    "slice of pizza": Drawing("1f355", ITEM, False),
    "birthday cake": Drawing("1f382", ITEM, False),
    "cupcake": Drawing("1f9c1", ITEM, False),
    "ice cream": Drawing("1f366", ITEM, False),
    "donut": Drawing("1f369", ITEM, True),
    "cup of coffee": Drawing("2615", ITEM, True),
    "teapot": Drawing("1fad6", ITEM, True),
    "guitar": Drawing("1f3b8", ITEM, True),
    "trumpet": Drawing("1f3ba", ITEM, False),
    "violin": Drawing("1f3bb", ITEM, False),
    "drum": Drawing("1f941", ITEM, True),
    "soccer ball": Drawing("26bd", ITEM, False),
    "basketball": Drawing("1f3c0", ITEM, True),
    "kite": Drawing("1fa81", AIR, True),
    "crown": Drawing("1f451", ITEM, True),
    "gift": Drawing("1f381", ITEM, True),
    "teddy bear": Drawing("1f9f8", ITEM, True),
    "alarm clock": Drawing("23f0", ITEM, True),
    "key": Drawing("1f511", ITEM, True),
    "chair": Drawing("1fa91", ITEM, True),
    "ghost": Drawing("1f47b", AIR, True),
    "alien monster": Drawing("1f47e", ITEM, True),
    "camera": Drawing("1f4f7", ITEM, True),
    "top hat": Drawing("1f3a9", ITEM, True),
    "bell": Drawing("1f514", ITEM, True),
    "gem": Drawing("1f48e", ITEM, True),
    "heart": Drawing("2764", AIR, True),
    "fox": Drawing("1f98a", ITEM, True),
    "panda": Drawing("1f43c", ITEM, False),
    "lion": Drawing("1f981", ITEM, False),
    "frog": Drawing("1f438", ITEM, True),
    "unicorn": Drawing("1f984", ITEM, False),
    "bear": Drawing("1f43b", ITEM, True),
}

COLOURS = {
    "red": (222, 40, 44), "orange": (245, 135, 30), "yellow": (250, 208, 50),
    "green": (60, 165, 70), "blue": (40, 95, 215), "purple": (135, 65, 190),
    "pink": (248, 140, 190), "white": (245, 245, 245), "black": (28, 28, 32),
}
TINTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")  # what objects are recoloured to
SHAPES = ("circle", "square", "triangle", "star")
SIZES = ("tiny", "huge")
assert not set(SHAPES) & set(OBJECTS), "a name must say whether it is a shape"

PLACES = {
    "meadow": ("in a green meadow", "on the green hills"),
    "desert": ("in the desert", "on the sand dunes"),
    "beach": ("on the beach", "by the sea"),
    "sea": ("on the sea", "on the waves"),
    "snow": ("in the snow", "in a snowy land"),
    "forest": ("in the forest", "among the pine trees"),
    "mountains": ("in the mountains", "below the snowy peaks"),
    "city": ("in the city", "in front of the skyline"),
    "space": ("in space", "among the planets"),
    "underwater": ("under water", "at the bottom of the sea"),
    "room": ("in a room", "on a wooden floor"),
    "plain": (),  # "on a COLOUR background"
}
INDOORS = ("space", "underwater", "room", "plain")  # no sky: neither time of day nor weather
FLOATING = ("space", "underwater", "plain")  # no ground: things hang in the middle
TIMES = {
    "day": ("by day", "on a sunny day", "under a blue sky"),
    "sunset": ("at sunset", "in the evening light"),
    "night": ("at night", "under the stars"),
}
WEATHER = {"rain": "in the rain", "snowfall": "while snow falls", "rainbow": "under a rainbow"}
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
WITHOUT_ARTICLE = ("grapes", "cherries", "broccoli", "corn")


def article(words: str) -> str:
    """The words with "a" or "an" before them, where English wants one."""
    if words.split()[-1] in WITHOUT_ARTICLE:
        return words
    return ("an " if words[0] in "aeiou" and not words.startswith(("uni", "eu")) else "a ") + words


def write_notice(folder):
    """Lays the notice beside what derives from the drawings: data sets and models."""
    path = os.path.join(folder, "NOTICE")
    with open(path + ".new", "w") as file:
        file.write(NOTICE)
    os.replace(path + ".new", path)


def card(objects: int) -> str:
    """The vocabulary as Markdown, for a model trained with the first `objects` objects."""
    def line(title, words):
        return "- **%s**: %s" % (title, ", ".join(words))
    return "\n".join([
        line("Places", [p for phrases in PLACES.values() for p in phrases] + ["on a COLOUR background"]),
        line("Times of day", [t for phrases in TIMES.values() for t in phrases]),
        line("Weather", WEATHER.values()),
        line("Objects", list(OBJECTS)[:objects]),
        line("Shapes", SHAPES),
        line("Colours", COLOURS),
        line("Sizes", SIZES),
        line("Relations", ["A and B", "A to the left of B", "A to the right of B", "A on the left and B on the right",
                           "A above B", "A below B", "A on the left", "A on the right"]),
    ])
