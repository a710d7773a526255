"""The command line: words to calls, results to text or JSON, errors to exit codes.

Exit codes are part of the public contract: 0 every move done, 1 anything else, 2 refused and
nothing changed, 3 VMM unreachable, 4 database locked, newer or corrupt, 5 golden differs,
130 interrupted.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from bot.terminal import audit, reading, running, serving, verbs
from bot.terminal.board import safe
from bot.terminal.report_page import page
from engine import grammar, naming
from engine.errors import Refused, StoreError, UsageError, VMFerryError, VmmError
from engine.model import Request
from engine.report import spreadsheet
from engine.settings import Settings, load
from engine.store import queries
from engine.vocabulary import OPTIONS, VERBS

if TYPE_CHECKING:
    from engine.sim.story import Played

REFUSED, UNREACHABLE, NO_STORE, DIFFERS = 2, 3, 4, 5


class _Pace(click.ParamType[float]):
    """``--speed``: how much faster than the wall a simulated world runs, or ``max``."""

    name = "N|max"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """A number above 0, or infinity for ``max``."""
        if isinstance(value, float):
            return value
        word = str(value)
        try:
            pace = math.inf if word == "max" else float(word)
        except ValueError:
            pace = 0.0
        if not pace > 0 or (math.isinf(pace) and word != "max"):
            self.fail(f'"{word}" is neither a number above 0 nor max.', param, ctx)
        return pace


class _Verbs(click.Group):
    """Names the nearest verb where the one that was typed does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or refuse it by name."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = self.list_commands(ctx)
            near = grammar.nearest(args[0], known)
            hint = f"Did you mean {near}?" if near else f"There are: {', '.join(known)}."
            if args[0].casefold() in ("host", "vm"):
                hint = f"Did you mean: vmferry run {' '.join(args)}"
            if args[0].casefold() == "help":
                hint = f"Type: vmferry {' '.join([*args[1:2], '--help'])}"
            raise click.UsageError(f'I do not know the verb "{args[0]}". {hint}', ctx)
        return super().resolve_command(ctx, args)


def _request_usage() -> str:
    verbs = [f"  {verb.usage:<22} {verb.about}" for verb in VERBS if verb.request]
    options = [f"  {option.word:<22} {option.about}" for option in OPTIONS]
    return "\n\n".join("\b\n" + "\n".join(part) for part in (["REQUEST:", *verbs], options))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="VMFERRY_CONFIG",
    help="Settings (TOML); default: settings.toml, if there is one.",
)
@click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="VMFERRY_DB",
    default=reading.DEFAULT_DB,
    show_default=True,
    help="The database of runs.",
)
@click.version_option(package_name="vmferry", prog_name="vmferry")
@click.pass_context
def cli(ctx: click.Context, config: Path | None, db: Path) -> None:
    """Move virtual machines between Hyper-V hosts, with their networks intact."""
    usual = Path("settings.toml")
    path = config if config is not None else usual if usual.exists() else None
    ctx.obj = _Lazy(path, db)


class _Lazy:
    """The place of a command, whose settings are read only by commands that need them."""

    def __init__(self, config: Path | None, db: Path) -> None:
        self.config, self.db = config, db

    def place(self) -> reading.Place:
        """Database and settings. Raises ``Refused``."""
        settings: Settings = load(self.config)
        if not self.db.parent.is_dir():
            raise Refused(
                f"There is no folder {self.db.parent} for the database.",
                what=str(self.db),
                hint="Make it, or name another file with --db.",
            )
        return reading.Place(self.db, settings)


@cli.command(
    # No -h here: "backup -1h" has to be refused, not answered with help.
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
    epilog=_request_usage(),
    options_metavar="[OPTIONS]",
)
@click.option(
    "--fleet",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Move on a simulated fleet, described by this file; kept beside the database.",
)
@click.option("--speed", type=_Pace(), help="Times faster than the clock, or max. Default: 1.")
@click.option("--seed", type=int, help="Chance of the simulated fleet; default: the fleet's.")
@click.option(
    "--approve",
    type=click.Choice(["ask", "yes", "no"]),
    default="ask",
    show_default=True,
    help="Powered-down VMs: ask here, or answer every question so. Without a terminal ask is no.",
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON; progress on stderr.")
@click.argument("words", metavar="[REQUEST...]", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(
    ctx: click.Context,
    fleet: Path | None,
    speed: float | None,
    seed: int | None,
    approve: Literal["ask", "yes", "no"],
    as_json: bool,
    words: tuple[str, ...],
) -> None:
    """Move VMs, and watch it. The request of an unfinished run goes on with that run.

    Without a request it goes on with the only unfinished run.
    """
    request = _request(ctx, words) if words else None
    wish = running.Wish(request, fleet, speed, seed, approve, as_json)
    code, document = running.run(cast(_Lazy, ctx.obj).place(), wish)
    if as_json and document:
        _print_json(document)
    ctx.exit(code)


def _request(ctx: click.Context, words: tuple[str, ...]) -> Request:
    options = [name for one in ctx.command.params for name in one.opts if name.startswith("--")]
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name = word.split("=", 1)[0]
            near = grammar.nearest(name, options)
            if name in ("--db", "--config"):
                raise UsageError(
                    f"{name} stands before the verb.",
                    what=name,
                    hint=f"Type: vmferry {name} FILE run ...",
                )
            hint = f"Did you mean {near}?" if near else f"There are: {', '.join(options)}."
            shown = " ".join(words)
            raise UsageError(
                f"There is no option {name}.",
                what=name,
                hint=hint,
                text=shown,
                at=shown.index(name),
            )
    command = grammar.parse_words(words)
    if isinstance(command, Request):
        return command
    raise UsageError(
        f'"{command.verb}" is no request.',
        what=command.verb,
        hint=f"Type: vmferry {'--help' if command.verb == 'help' else command.verb}",
        text=" ".join(words),
        at=0,
    )


@cli.command()
@click.argument("run", metavar="[RUN]", required=False)
@click.pass_context
def status(ctx: click.Context, run: str | None) -> None:
    """Show what moves and why the rest waits.

    RUN is R214, 214, or a host that only one unfinished run has; default: all unfinished runs.
    """
    place = cast(_Lazy, ctx.obj).place()
    store = place.reading()
    try:
        chosen = (
            [naming.find_run(run, queries.runs(store))]
            if run
            else queries.runs(store, unfinished=True)
        )
        boards = [reading.status_of(place, store, one) for one in chosen]
        warning = place.idle_warning(store)
    finally:
        store.close()
    for number, lines in enumerate(boards):
        click.echo(("\n" if number else "") + "\n".join(lines))
    if not boards:
        click.echo("No run is unfinished.")
    if warning:
        click.echo(warning, err=True)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV, a row per VM; for a spreadsheet.")
@click.argument("run", metavar="RUN")
@click.pass_context
def report(ctx: click.Context, run: str, as_json: bool, as_csv: bool) -> None:
    """Show what became of every VM of a run."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot be used together.", ctx)
    place = cast(_Lazy, ctx.obj).place()
    store = place.reading()
    try:
        document = reading.report_of(place, store, naming.find_run(run, queries.runs(store)))
    finally:
        store.close()
    if as_json:
        _print_json(document)
    elif as_csv:
        click.echo(spreadsheet(document["runs"][0]).encode("utf-8", "replace"), nl=False)
    else:
        click.echo("\n".join(page(document["runs"][0])))


@cli.command()
@click.option("--seed", type=int, help="Another chance than the story's own.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
@click.option("--update", is_flag=True, help="Write what happened as the expectation.")
@click.argument(
    "folders",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@click.pass_context
def story(
    ctx: click.Context, seed: int | None, as_json: bool, update: bool, folders: tuple[Path, ...]
) -> None:
    """Play stories and compare each with its expect.txt."""
    from engine.sim.story import play

    if as_json and update:
        raise click.UsageError("--json and --update cannot be used together.", ctx)
    differing, unfinished = [], []
    for folder in folders:
        played = play(folder, seed)
        if not played.document["ended"] or played.document["violations"]:
            unfinished.append(folder)
        if as_json:
            _print_json(played.document)
        elif update:
            (folder / "expect.txt").write_text(played.text, encoding="utf-8", newline="\n")
            click.echo(f"{folder}: written")
        else:
            click.echo(played.text, nl=not played.text.endswith("\n"))
        if played.differs and seed is None and not update:  # another seed is another night
            differing.append(folder)
            _print_difference(folder, played)
    for folder in differing:
        click.echo(
            f"{folder}: differs from expect.txt. If it should: story {folder} --update", err=True
        )
    for folder in unfinished:
        click.echo(f"{folder}: did not play to its end as it should.", err=True)
    ctx.exit(DIFFERS if differing else 1 if unfinished else 0)


def _print_difference(folder: Path, played: Played) -> None:
    before, after = (played.expected or "").splitlines(), played.text.splitlines()
    names = (str(folder / "expect.txt"), "played")
    for line in difflib.unified_diff(before, after, *names, lineterm=""):
        click.echo(line, err=True)


@cli.command()
def demo() -> None:
    """Tell a night of migrations, in half a minute."""
    from bot.terminal.demo import main as play

    sys.exit(play())


verbs.register(cli, lambda ctx: cast(_Lazy, ctx.obj).place())
audit.register(cli, lambda ctx: cast(_Lazy, ctx.obj).place())
serving.register(
    cli,
    lambda ctx: cast(_Lazy, ctx.obj).place(),
    lambda ctx: load(cast(_Lazy, ctx.obj).config),
    _Pace(),
)


def _print_json(document: Mapping[str, Any]) -> None:
    click.echo(json.dumps(document, sort_keys=True, ensure_ascii=False))


def main(argv: list[str] | None = None) -> None:
    """The console script: run the command and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = cli.main(argv, prog_name="vmferry", standalone_mode=False)
    except click.NoSuchOption as error:
        shown: click.ClickException = error
        if error.option_name in ("--db", "--config"):
            way = (
                f"{error.option_name} stands before the verb: vmferry {error.option_name} FILE ..."
            )
            shown = click.UsageError(way, error.ctx)
        shown.show()
        sys.exit(shown.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(running.INTERRUPTED)
    except BrokenPipeError:  # whoever read our lines has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except VMFerryError as error:
        click.echo(_words(error), err=True)
        sys.exit(_exit_code(error))
    sys.exit(code if isinstance(code, int) else 0)


def _words(error: VMFerryError) -> str:
    text = error.pointed() if isinstance(error, UsageError) else str(error)
    return "\n".join(map(safe, text.split("\n")))


def _exit_code(error: VMFerryError) -> int:
    if isinstance(error, Refused):
        return REFUSED
    if isinstance(error, VmmError):
        return UNREACHABLE
    return NO_STORE if isinstance(error, StoreError) else 1


if __name__ == "__main__":
    main()
