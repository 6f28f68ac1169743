"""Makes a command from a function, whose annotations declare the command's arguments and options.

A command's module is imported only when the command runs, so that each command, help and completion start fast.
"""

import importlib
import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import click
from msgspec import Struct

OPTIONS = "Options"
"""The heading above options that have no other one."""


class Option(Struct, frozen=True):
    """An option of a command. Its type and its default are those of the annotated parameter."""

    name: str = ""
    """The option with its hyphens. The default is the name of the parameter."""
    help: str = ""
    metavar: str | None = None
    envvar: str | None = None
    """The environment variable with the option's default."""
    is_eager: bool = False
    """Whether the option is parsed before the other options."""
    callback: Callable[[click.Context, click.Parameter, Any], Any] | None = None
    """A function that is called with the value while the command line is parsed."""
    heading: str = OPTIONS
    """The heading above the option in the help of the command."""


class Argument(Struct, frozen=True):
    """An argument of a command. It is required unless the annotated parameter has a default."""

    metavar: str
    help: str
    choices: Sequence[str] = ()
    """All allowed values; empty if other values are allowed too."""


class _ShownArgument(click.Argument):
    """An argument that the help of its command explains."""

    def __init__(self, name: str, *, help: str, **settings: Any) -> None:  # noqa: A002 - as in an option of click
        super().__init__([name], **settings)
        self.help = help

    def make_metavar(self, ctx: click.Context) -> str:  # noqa: ARG002
        """Return the argument as in a synopsis: in brackets if it is optional, with dots if it may be repeated."""
        shown = str(self.metavar) if self.required else f"[{self.metavar}]"
        return shown if self.nargs == 1 else f"{shown}..."


class _ShownOption(click.Option):
    """An option below a heading in the help of its command."""

    def __init__(self, declarations: Sequence[str], *, heading: str, **settings: Any) -> None:
        super().__init__(declarations, **settings)
        self.heading = heading


class Command(click.Command):
    """A command with the arguments and options that its function's annotations declare."""

    def __init__(self, name: str | None, callback: Callable[..., Any], **settings: Any) -> None:
        parameters = list(inspect.signature(callback).parameters.values())
        if parameters and parameters[0].annotation is click.Context:
            del parameters[0]
            callback = click.pass_context(callback)
        super().__init__(name, callback=callback, **{**settings, "params": [_parameter(one) for one in parameters]})

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as in click
        """Write the help of the arguments."""
        rows = [(str(one.metavar), str(one.help)) for one in self.params if isinstance(one, _ShownArgument)]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help of the options, each below its heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for one in self.get_params(ctx):
            # New versions of click also return a record for an argument that has a help text.
            if isinstance(one, click.Option) and (record := one.get_help_record(ctx)):
                sections.setdefault(getattr(one, "heading", OPTIONS), []).append(record)
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


class Group(click.Group):
    """A group of commands."""

    command_class = Command

    def __init__(self, name: str | None = None, **settings: Any) -> None:
        super().__init__(name, **settings, no_args_is_help=True)


class LazyCommand(click.Command):
    """A command, or a group of commands, whose module is imported only when the command runs."""

    def __init__(self, name: str, place: str, summary: str) -> None:
        """`place` is MODULE:NAME of the function or group, below `waypost.cli.commands`. `summary` is the first
        sentence of its help.
        """
        super().__init__(name, short_help=summary)
        self._place = place

    def load(self) -> click.Command:
        """Import the command's module, and return the command."""
        module, _, name = self._place.partition(":")
        found = getattr(importlib.import_module(f"waypost.cli.commands.{module}"), name)
        return found if isinstance(found, click.Command) else Command(self.name, found, help=inspect.getdoc(found))

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """Parse the arguments for the command itself, which then runs in place of this object."""
        return self.load().make_context(*arguments, **settings)


def all_commands(group: click.Group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield the full name of each command below a group, such as `routes add`, and the command."""
    for own, found in group.commands.items():
        path = f"{name} {own}".strip()
        command = found.load() if isinstance(found, LazyCommand) else found
        if isinstance(command, click.Group):
            yield from all_commands(command, path)
        else:
            yield path, command


def _parameter(parameter: inspect.Parameter) -> click.Parameter:
    of, declared = get_args(parameter.annotation)
    kind = _kind(of)
    is_required = parameter.default is inspect.Parameter.empty
    default = None if is_required else parameter.default
    # click takes a default for a value, even if it is None.
    with_default: dict[str, Any] = {} if is_required else {"default": default}
    if isinstance(declared, Argument):
        return _ShownArgument(
            parameter.name,
            help=declared.help,
            metavar=declared.metavar,
            type=click.Choice(declared.choices) if declared.choices else kind.type,
            nargs=-1 if kind.is_list else 1,
            required=is_required,
            **with_default,
        )
    return _ShownOption(
        [parameter.name, declared.name or f"--{parameter.name.replace('_', '-')}"],
        heading=declared.heading,
        help=declared.help,
        metavar=declared.metavar,
        type=kind.type,
        is_flag=kind.type is click.BOOL,
        multiple=kind.is_list,
        required=is_required,
        **with_default,
        show_default=default not in (None, "", False),
        envvar=declared.envvar,
        show_envvar=True,
        is_eager=declared.is_eager,
        callback=declared.callback,
    )


class _Kind(Struct, frozen=True):
    type: click.ParamType[Any]
    is_list: bool = False


_TYPES: dict[Any, click.ParamType[Any]] = {
    bool: click.BOOL,
    float: click.FLOAT,
    int: click.INT,
    Path: click.Path(path_type=Path),
    str: click.STRING,
}


def _kind(annotation: Any) -> _Kind:
    """Return how click reads values of an annotated type. `X | None` is read as X."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (one for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is tuple:
        return _Kind(_TYPES[get_args(annotation)[0]], is_list=True)
    return _Kind(_TYPES[annotation])
