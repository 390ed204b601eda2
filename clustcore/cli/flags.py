"""The words of the command line: its commands, and flags drawn from the config dataclasses."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from clustcore.config import Config

COMMANDS = {
    "train": "train a model: MODEL --data NAME [--root DIR] [flags], or --config run.json",
    "defend": "train a run on under a defence: RUN --defence NAME [flags]",
    "teach": "make a teacher for a data set's training split, or of a run's embedding",
    "project": "fit the map of a run",
    "snapshots": "draw live maps of a run while it is trained by another process",
    "attack": "attack a run's samples over the dial, or at one strength",
    "evaluate": "ACC, NMI and ARI of a run on clean samples",
    "assemble": "make a run, map included, of what `reproduce drc --out` brought: FOLDER",
    "reproduce": "make again what ships or is shown: data, runs, tables and what stands in them",
}
HELP = (["-h"], ["--help"])
# flags of the commands that open a run, and of those that also ask which samples
RUN = {
    "run": (str, dataclasses.MISSING, "name of the run"),
    "device": (str, "auto", "auto, cpu, cuda, cuda:1, mps"),
    "seed": (int, 0, "seed"),
}
# of those that train, and so may have to fetch the images
WHERE = {
    "root": (str | None, None, "folder that holds the data"),
    "download": (bool, False, "allow a download into the root"),
}
DATA = {
    "data": (str | None, None, "data set; the run's own by default"),
    "root": (str | None, None, "folder that holds the data"),
    "split": (str | None, None, "train, test or all; test by default, where there is one"),
}


def flags(config: type[Config], without: tuple[str, ...] = ()) -> tuple[Any, Any, str]:
    """A config dataclass as a group of flags, each with the help of its field."""
    hints = typing.get_type_hints(config)
    group = {}
    for field in dataclasses.fields(config):
        if field.name in without:
            continue
        meta = field.metadata
        bounds = "" if meta.get("range") is None else f" ({meta['range'][0]} to {meta['range'][1]})"
        choices = f" (one of {', '.join(map(str, meta['choices']))})" if meta.get("choices") else ""
        unit = f" [{meta['unit']}]" if meta.get("unit") else ""
        help = f"{meta.get('help', '')}{bounds}{choices}{unit}"
        group[field.name] = (hints[field.name], field.default, help)
    return dict, group, config.__doc__ or ""


def usage(command: str, word: str, known: Iterable[str]) -> NoReturn:
    """Help of a command whose flags depend on a word; ends the process."""
    print(f"usage: python -m clustcore {command} {word} [flags]\n\n{COMMANDS[command]}\n")
    name = word.rsplit(maxsplit=1)[-1]
    print(f"{name}: one of {', '.join(sorted(known))}; with it, --help lists the flags")
    sys.exit()


def parse(argv: list[str], command: str, **options: tuple[Any, Any, str]) -> argparse.Namespace:
    """What the flags of a command say, of a group of flags as a dict; `--help` ends the process.

    Args:
        command: its name, with what follows it before any flag.
        options: each flag's type, default (MISSING: a word in its place) and help, or a group of
            them, as `flags` makes it.

    Raises:
        ValueError: an unknown flag, or a value that is not of the flag's type; the message names
            the flag. Ranges and choices are the configs' own to refuse.
    """
    words = [name.upper() for name, option in options.items() if option[1] is dataclasses.MISSING]
    parser = _Parser(
        prog=f"python -m clustcore {command}",
        usage=" ".join(["%(prog)s", *words, "[flags]"]),
        description=COMMANDS[command.split(maxsplit=1)[0]],
        allow_abbrev=False,
    )
    for name, (kind, default, help) in options.items():
        if kind is not dict:
            _add(parser, name, kind, default, help)
            continue
        group = parser.add_argument_group(name, help)
        for field, option in default.items():
            _add(group, f"{name}.{field}", *option)
    said, rest = parser.parse_known_args(_plain(argv))
    if rest:
        raise ValueError(
            f"unknown flag or word {rest[0]!r}; `{parser.prog} --help` lists the flags"
        )
    found = vars(said)
    for name, (kind, default, _) in options.items():
        if kind is dict:
            found[name] = {field: found.pop(f"{name}.{field}") for field in default}
    return said


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # in one line and as any other mistake, without the usage
        raise ValueError(message.removeprefix("argument "))


class _Switch(argparse.Action):
    # of a group as `--train.compile` and `--train.no-compile`
    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        group, dot, name = option_strings[0].removeprefix("--").rpartition(".")
        self.off = f"--{group}{dot}no-{name}"
        super().__init__([option_strings[0], self.off], dest, nargs=0, **options)

    def __call__(self, parser: Any, said: Any, values: Any, flag: str | None = None) -> None:
        setattr(said, self.dest, flag != self.off)


def _add(parser: Any, name: str, kind: Any, default: Any, help: str) -> None:
    help = help.replace("%", "%%")
    if default is dataclasses.MISSING:
        parser.add_argument(name, type=kind, metavar=name.upper(), help=help)
        return
    names = [f"--{name.replace('_', '-')}"]
    if name == "train.minutes":  # the time limit has one name wherever a command takes it
        names.append("--minutes")
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    help = f"{help} (default: {'none' if shown in (None, '') else shown})"
    if kind is bool:
        parser.add_argument(*names, action=_Switch, dest=name, default=default, help=help)
        return
    more: dict[str, Any] = {}
    if typing.get_origin(kind) is tuple:
        kind, *others = typing.get_args(kind)
        more = {"action": _Tuple, "nargs": "*" if others == [...] else 1 + len(others)}
    kinds = typing.get_args(kind) or (kind,)
    more |= {"type": _reader(kinds), "metavar": _KINDS[kinds[0]][0]}
    parser.add_argument(*names, dest=name, default=default, help=help, **more)


class _Tuple(argparse.Action):
    def __call__(self, parser: Any, said: Any, values: Any, flag: str | None = None) -> None:
        setattr(said, self.dest, tuple(values))


_KINDS = {str: ("WORD", "a word"), int: ("N", "a whole number"), float: ("X", "a number")}
_KINDS[Path] = ("PATH", "a path")


def _reader(kinds: tuple[Any, ...]) -> Callable[[str], Any]:
    # of `int | None` and its like the word None is the value
    def read(word: str) -> Any:
        if word == "None" and type(None) in kinds:
            return None
        try:
            return kinds[0](word)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"expected {_KINDS[kinds[0]][1]}, got {word!r}"
            ) from None

    return read


def _plain(argv: list[str]) -> list[str]:
    # as argparse wants it: hyphens in a flag's name, and what it would not know for a negative
    # number (-1e-3) joined to its flag
    words: list[str] = []
    for word in argv:
        if word.startswith("--"):
            name, equals, rest = word.partition("=")
            words.append(name.replace("_", "-") + equals + rest)
        elif words and words[-1].startswith("--") and re.match(r"-[\d.]+e|-inf|-nan", word, re.I):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def value(argv: list[str], flag: str, default: Any = dataclasses.MISSING) -> Any:
    """What follows a flag.

    Raises:
        ValueError: nothing does, or the flag is not there and has no default.
    """
    if flag in argv:
        at = argv.index(flag) + 1
        if at < len(argv):
            return argv[at]
        raise ValueError(f"{flag}: expected a value, got nothing")
    if default is dataclasses.MISSING:
        raise ValueError(f"{flag}: expected, got nothing")
    return default
