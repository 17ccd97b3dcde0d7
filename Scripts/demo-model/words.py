"""Prints the vocabulary as it stands in the model card."""
from vocabulary import OBJECTS, card


def arguments(parser):
    parser.add_argument("--objects", type=int, default=len(OBJECTS), help="how many objects the model was trained on")


def run(a):
    print(card(a.objects))
