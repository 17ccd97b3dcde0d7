"""The demo model's workshop: `python Scripts/demo-model COMMAND --help`."""
import argparse
import importlib
import sys

COMMANDS = {  # command: (module, its arguments, its function, what it does)
    "words": ("words", "arguments", "run", "print the vocabulary"),
    "dataset": ("dataset", "arguments", "run", "draw pictures with true captions"),
    "prepare": ("prepare", "arguments", "run", "tokenizers, token ids, pictures by aspect ratio"),
    "vae": ("autoencoder", "arguments", "run", "train the autoencoder"),
    "encode": ("autoencoder", "encode_arguments", "encode", "encode all pictures"),
    "read": ("reading", "arguments", "run", "teach T5 on captions alone what they say"),
    "dit": ("flow", "arguments", "run", "train transformer and text encoders"),
    "distill": ("flow", "arguments", "run", "distil guidance into the model"),
    "few": ("few_steps", "arguments", "run", "distil many steps into four: the few-step variant"),
    "score": ("flow", "score_arguments", "score", "print the loss on unseen pictures"),
    "sample": ("sample", "arguments", "run", "draw a sheet with a stage of a run"),
    "export": ("export", "arguments", "run", "write the model as a folder in diffusers layout"),
    "further": ("further", "arguments", "run", "train a finished model further: all of the above in one command"),
    "selftest": ("selftest", "arguments", "run", "all of it at toy size, in minutes"),
}


def main():
    parser = argparse.ArgumentParser(prog="python Scripts/demo-model", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, (module, arguments, function, summary) in COMMANDS.items():
        sub = commands.add_parser(command, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if command in sys.argv[1:2]:  # torch and diffusers take seconds to load: only for the command that runs
            module = importlib.import_module(module)
            sub.description = module.__doc__
            getattr(module, arguments)(sub)
            sub.set_defaults(run=getattr(module, function))
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
