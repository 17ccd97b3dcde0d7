"""Scenes: the records that pictures are drawn from and captions are read off.

A scene says everything that can be asked of its picture, so each caption is true
and a program can check what a model drew.
"""
import random
import zlib
from dataclasses import asdict, dataclass, field

from vocabulary import (AIR, COLOURS, FLOATING, INDOORS, OBJECTS, OPPOSITE, PLACES, SHAPES, SIZES, TIMES, TINTS, WATER,
                        WEATHER, article)

# Width and height in eighths of the long side, and how often each is drawn.
ASPECTS = {(8, 8): 0.4, (8, 6): 0.1, (6, 8): 0.1, (8, 5): 0.1, (5, 8): 0.1, (8, 4): 0.1, (4, 8): 0.1}
HELD_OUT_SHARE = 12  # one content of so many is never trained on
# How large things are (Thing.extent). Words and the picture's shape decide that, and where things are but for the height of
# the ground: a model that had to choose among sizes and places, or between a thing and its mirror image, drew mixtures.
EXTENTS = {"one shape": 0.27, "two shapes": 0.165, "alone": 0.44, "beside": 0.35, "stacked": 0.31, "tiny": 0.2, "huge": 0.64}


@dataclass
class Thing:
    """An object or a shape in the picture."""

    name: str
    colour: str | None
    # Where and how large, before drawing.py moves it to its grid.
    x: float  # centre, share of the width
    y: float | None  # centre, share of the height; None: it stands on the ground
    extent: float  # its longer side (a shape's radius), share of the picture's shorter side
    size: str | None = None

    @property
    def words(self):
        return article(" ".join(w for w in (self.size, self.colour, self.name) if w))


@dataclass
class Scene:
    """One picture."""

    seed: int
    aspect: tuple[int, int]
    place: str
    things: list[Thing]
    time: str | None = None  # None where there is no sky
    weather: str | None = None
    background: str | None = None  # the colour of a plain place
    relation: str | None = None  # of the first thing to the second; of a single one: "on the left", "on the right"

    @property
    def of_shapes(self):
        return self.things[0].name in SHAPES

    @property
    def record(self):
        return asdict(self)

    @classmethod
    def of(cls, record):
        return cls(**{**record, "aspect": tuple(record["aspect"]), "things": [Thing(**t) for t in record["things"]]})

    @property
    def held_out(self):
        """Whether this content (things, their colours, place, relation) is kept away from training.

        A thing right of another has that one on its left: both scenes are one content, and so are "above" and "below".
        Whoever changes this raises VERSION in drawing.py: what is kept away now was trained on in data sets drawn before.
        """
        relation, things = self.relation, [(t.name, t.colour) for t in self.things]
        if relation in ("right of", "above"):
            relation, things = OPPOSITE[relation], things[::-1]
        content = (self.place, self.background, relation, things)
        return zlib.crc32(repr(content).encode()) % HELD_OUT_SHARE == 0


@dataclass
class World:
    """What scenes may be made of."""

    objects: list[str] = field(default_factory=lambda: list(OBJECTS))
    places: list[str] = field(default_factory=lambda: list(PLACES))
    aspects: list[tuple[int, int]] = field(default_factory=lambda: list(ASPECTS))
    shapes: float = 0.25  # share of pictures of plain shapes
    weather: float = 0.15  # share of pictures under the sky that have rain, snowfall or a rainbow
    coloured: float = 0.3  # share of the objects that can be recoloured which are
    seed: int = 1

    def scene(self, index, split="all"):
        """Scene number `index` of the split: "train", "held-out" or "all". The same for the same arguments."""
        random_ = random.Random("%d %s %d" % (self.seed, split, index))
        while True:
            aspect = random_.choices(self.aspects, [ASPECTS[a] for a in self.aspects])[0]
            make = self._shapes if random_.random() < self.shapes else self._objects
            scene = make(random_, random_.getrandbits(32), aspect)
            if split == "all" or scene.held_out == (split == "held-out"):
                return scene

    def _shapes(self, random_, seed, aspect):
        """One or two coloured shapes on a ground of a third colour."""
        colours = random_.sample(list(COLOURS), 3)
        scene = Scene(seed, aspect, "plain", [], background=colours[2])
        if random_.random() < 0.25:
            scene.things = [Thing(random_.choice(SHAPES), colours[0], 0.5, 0.5, EXTENTS["one shape"])]
            return scene
        scene.relation = random_.choice(list(OPPOSITE))
        places = {"left of": ((0.27, 0.5), (0.73, 0.5)), "right of": ((0.73, 0.5), (0.27, 0.5)),
                  "above": ((0.5, 0.27), (0.5, 0.73)), "below": ((0.5, 0.73), (0.5, 0.27))}[scene.relation]
        scene.things = [Thing(random_.choice(SHAPES), colour, x, y, EXTENTS["two shapes"])
                        for (x, y), colour in zip(places, colours)]
        return scene

    def _objects(self, random_, seed, aspect):
        """One or two objects in a place where they can be."""
        place = random_.choice(self.places)
        scene = Scene(seed, aspect, place, [])
        if place not in INDOORS:
            scene.time = random_.choice(list(TIMES))
            if random_.random() < self.weather:
                scene.weather = random_.choice([w for w in WEATHER if w != "rainbow" or scene.time == "day"])
        if place == "plain":
            scene.background = random_.choice(list(COLOURS))
        fits = self._fitting(place)
        first, kind = random_.choice(fits), random_.random()
        if kind < 0.58:
            self._alone(random_, scene, first)
        elif kind < 0.85:
            second = random_.choice([o for o in fits if o != first] or fits)
            scene.relation = "left of"
            for name, x in ((first, 0.28), (second, 0.72)):
                scene.things.append(self._thing(random_, scene, name, x, self._height(place, name), "beside"))
        else:
            flyers = [o for o in self.objects if OBJECTS[o].habitat == AIR and o != first]
            second = random_.choice(flyers) if flyers else first
            hangs = place in FLOATING or OBJECTS[first].habitat == AIR
            scene.relation = "below"
            for name, y in ((first, 0.71 if hangs else None), (second, 0.245)):
                scene.things.append(self._thing(random_, scene, name, 0.5, y, "stacked"))
        return scene

    def _alone(self, random_, scene, name):
        size, x = None, 0.5
        if random_.random() < 0.2:
            size = random_.choice(SIZES)
        if random_.random() < 0.25:
            scene.relation = random_.choice(["on the left", "on the right"])
            x = 0.27 if scene.relation == "on the left" else 0.73
            size = None if size == "huge" else size
        y = self._height(scene.place, name)
        scene.things = [self._thing(random_, scene, name, x, y, size or "alone", size)]

    def _fitting(self, place):
        """The objects for a place: boats and fish for water, nothing that swims for space."""
        def habitat(name):
            return OBJECTS[name].habitat
        if place in ("sea", "underwater"):
            fits = [o for o in self.objects if habitat(o) == WATER or (place == "sea" and habitat(o) == AIR)]
        elif place == "space":
            fits = [o for o in self.objects if habitat(o) != WATER]
            fits += 2 * [o for o in fits if habitat(o) == AIR]
        else:
            fits = self.objects
        return fits or self.objects

    @staticmethod
    def _height(place, name):
        if place in FLOATING:
            return 0.5
        return 0.36 if OBJECTS[name].habitat == AIR else None

    def _thing(self, random_, scene, name, x, y, kind, size=None):
        colour = random_.choice(TINTS) if OBJECTS[name].tintable and random_.random() < self.coloured else None
        if colour == scene.background:
            colour = None
        return Thing(name, colour, x, y, EXTENTS[kind], size)


def captions(scene, count=4):
    """Up to `count` different true captions, the same for the same scene."""
    random_ = random.Random(scene.seed)
    return sorted({"%s %s" % (_subject(scene, random_), _where(scene, random_)) for _ in range(count)})


def _where(scene, random_):
    if scene.place == "plain":
        return "on %s background" % article(scene.background)
    words = [random_.choice(PLACES[scene.place])]
    if scene.time:
        words.append(random_.choice(TIMES[scene.time]))
    if scene.weather:
        words.append(WEATHER[scene.weather])
    return " ".join(words)


def _subject(scene, random_):
    if len(scene.things) == 1:
        return " ".join(w for w in (scene.things[0].words, scene.relation) if w)
    a, b = (t.words for t in scene.things)
    phrase = {"left of": "to the left of", "right of": "to the right of"}
    back = OPPOSITE[scene.relation]
    choices = ["%s %s %s" % (a, phrase.get(scene.relation, scene.relation), b), "%s %s %s" % (b, phrase.get(back, back), a)]
    if scene.relation == "left of" and not scene.of_shapes:
        choices += ["%s and %s" % (a, b), "%s on the left and %s on the right" % (a, b)]
    return random_.choice(choices)
